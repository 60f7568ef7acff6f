"""One task's generated cells: sentences that the model says of cell types, or of none."""

import click

from c2sflow.steps.shared.options import embedding_options, model_options

EXISTING = click.Path(exists=True)


@click.command(help=__doc__)
@click.option("--task", required=True, type=click.IntRange(0), help="Number of the task.")
@click.option("--samples", required=True, type=EXISTING, help="samples.json of VALIDATE.")
@click.option("--sentences-dir", required=True, type=EXISTING, help="<id>.sentences.json.")
@click.option("--generate", required=True, type=click.IntRange(1), help="Cells of each type.")
@click.option("--organisms", required=True, help="Those of the data, a line each.")
@click.option("--cell-types", help="A line each; none for cells of no type in particular.")
@click.option("--shard-size", default="auto", help="Cells of a task, or auto.")
@model_options
@embedding_options
@click.option("--generation-prompt", help="Prompt template, or a file that holds it.")
@click.option("--generated-genes", type=click.IntRange(1), default=100, help="Genes to ask for.")
@click.option(
    "--valid-genes-only/--no-valid-genes-only", default=True, help="Answers hold genes only."
)
@click.option("--no-repeats/--no-no-repeats", default=True, help="Each gene at most once.")
@click.option("--gene-vocabulary-file", type=EXISTING, help="A symbol a line.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=200, help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, help="0 is greedy.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0)
@click.option("--seed", type=int, default=42, help="Seed of the samples.")
@click.option("--outdir", default=".", help="Gets <task>.generated.parquet, <task>.generate.json.")
def main(
    task, samples, sentences_dir, generate, organisms, cell_types, shard_size, outdir, **options
):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.generation.generate_task import generate_task
    from c2sflow.generation.plan import GenerationPlan

    plan = GenerationPlan.of(generate, organisms, cell_types, shard_size)
    generate_task(plan, task, Path(samples), Path(sentences_dir), Path(outdir), options)
