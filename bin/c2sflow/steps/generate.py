"""Generate the cells of one task."""

import click

from c2sflow.steps.shared.options import embedding_options, model_options

EXISTING = click.Path(exists=True)


@click.command(help=__doc__)
@click.option("--task", required=True, type=click.IntRange(0), help="Number of the task, from 0.")
@click.option("--samples", required=True, type=EXISTING, help="samples.json of VALIDATE.")
@click.option("--sentences-dir", required=True, type=EXISTING, help="<id>.sentences.json.")
@click.option("--generate", required=True, type=click.IntRange(1), help="Cells per type.")
@click.option("--organisms", required=True, help="Organisms of the data, one per line.")
@click.option("--cell-types", help="One per line; default: no type.")
@click.option("--cells-per-answer", type=click.IntRange(2), help="Cells of an answer; default: 1.")
@click.option("--tissues", help="One per line; default: none. With --cells-per-answer.")
@click.option("--shard-size", default="auto", help="Cells per task, or auto.")
@model_options
@embedding_options
@click.option("--generation-prompt", help="Prompt template, or a file with it.")
@click.option(
    "--generated-genes", type=click.IntRange(1), default=100, help="Genes that the prompt asks for."
)
@click.option(
    "--valid-genes-only/--no-valid-genes-only", default=True, help="Restrict answers to genes."
)
@click.option("--no-repeats/--no-no-repeats", default=True, help="Each gene at most once.")
@click.option("--gene-vocabulary-file", type=EXISTING, help="Allowed genes, one symbol per line.")
@click.option("--max-answer-genes", type=click.IntRange(1), help="Default: the model's own.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Default: as the genes need.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, help="0 is greedy.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0)
@click.option(
    "--likelihood", type=click.Choice(["valid", "full"]), default="valid",
    help="Of answers: among valid genes, or the full vocabulary.",
)  # fmt: skip
@click.option("--seed", type=int, default=42, help="Random seed of sampling.")
@click.option("--outdir", default=".", help="Gets <task>.generated.parquet, <task>.generate.json.")
def main(
    task, samples, sentences_dir, generate, organisms, cell_types, cells_per_answer, tissues,
    shard_size, outdir, **options,
):  # fmt: skip
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.generation.generate_task import generate_task
    from c2sflow.generation.plan import GenerationPlan

    plan = GenerationPlan.from_options(
        generate, organisms, cell_types, shard_size, cells_per_answer, tissues
    )
    generate_task(plan, task, Path(samples), Path(sentences_dir), Path(outdir), options)
