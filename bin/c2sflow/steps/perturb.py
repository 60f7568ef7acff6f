"""Predict the planned perturbations of one shard."""

import click

from c2sflow.steps.shared.options import embedding_options, model_options


@click.command(help=__doc__)
@click.option("--shard", required=True, type=click.Path(exists=True), help="Parquet of SENTENCES.")
@click.option("--plan", required=True, type=click.Path(exists=True), help="Parquet of PLAN.")
@click.option("--genes", required=True, type=click.Path(exists=True), help="<id>.sentences.json.")
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

    from c2sflow.generation.perturb_shard import perturb_shard

    perturb_shard(Path(shard), Path(plan), Path(genes), Path(outdir), options)
