"""Predict the planned perturbations of shards."""

import click

from c2sflow.steps.shared.options import SHARDS, by_name, embedding_options, files, model_options


@click.command(help=__doc__)
@SHARDS
@files("--plan", "<shard>.plan.parquet of PLAN; once for each shard.")
@files("--genes", "<id>.sentences.json of SENTENCES; once for each sample.")
@model_options
@embedding_options
@click.option("--perturbation-prompt", help="Prompt template, or a file with it.")
@click.option(
    "--valid-genes-only/--no-valid-genes-only", default=True, help="Restrict answers to genes."
)
@click.option("--no-repeats/--no-no-repeats", default=True, help="Each gene at most once.")
@click.option(
    "--gene-vocabulary-file",
    type=click.Path(exists=True),
    help="Allowed genes, one symbol per line.",
)
@click.option("--max-answer-genes", type=click.IntRange(1), help="Default: the model's own.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Default: as the genes need.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, help="0 is greedy.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0)
@click.option(
    "--likelihood", type=click.Choice(["valid", "full"]), default="valid",
    help="Of answers: among valid genes, or the full vocabulary.",
)  # fmt: skip
@click.option(
    "--num-samples", type=click.IntRange(1), default=1, help="Answers per cell and perturbation."
)
@click.option("--seed", type=int, default=42, help="Random seed of sampling.")
@click.option("--outdir", default=".", help="Gets <shard>.perturbed.parquet, <shard>.perturb.json.")
def main(shard, plan, genes, outdir, **options):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.generation.perturb_shards import perturb_shards

    samples, plans = by_name(genes, ".sentences.json"), by_name(plan, ".plan.parquet")
    shards = [Path(path) for path in shard]
    perturb_shards(
        shards,
        [plans[path.stem] for path in shards],
        [samples[path.stem.rpartition(".")[0]] for path in shards],  # <id>.<number>
        Path(outdir),
        options,
    )
