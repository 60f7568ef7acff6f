"""Which cells are perturbed with what, for the whole data set: a table for each shard."""

import click

FOLDER = click.Path(exists=True, file_okay=False)


@click.command(help=__doc__)
@click.option("--cells-dir", required=True, type=FOLDER, help="<id>.obs.parquet.")
@click.option("--sentences-dir", required=True, type=FOLDER, help="<id>.sentences.json.")
@click.option("--model", required=True, type=FOLDER, help="tokenizer.json, config.json.")
@click.option("--perturbations", help="Comma-separated list.")
@click.option("--perturbations-file", type=click.Path(exists=True), help="One a line, or a table.")
@click.option("--perturbation-column", help="Column of obs that names each cell's perturbation.")
@click.option("--control", help="pandas query on obs that picks the control cells.")
@click.option("--training-cells", help="pandas query on obs: cells the model was trained on.")
@click.option("--max-cells-per-perturbation", type=click.IntRange(1))
@click.option("--no-op", default="auto", help="auto, none, or what changes nothing in a prompt.")
@click.option("--measured-column", help="Column of obs with what was done to a cell.")
@click.option("--label-column", help="Column of obs with the cells' types.")
@click.option("--perturbation-prompt", help="Prompt template, or a file that holds it.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=200, help="Longest answer.")
@click.option("--num-samples", type=click.IntRange(1), default=1, help="Answers a prediction.")
@click.option("--seed", type=int, default=42)
@click.option("--outdir", default=".", help="Gets plans/<shard>.plan.parquet and plan.json.")
def main(**options):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.perturbation.plan_files import write_plan

    for name in ("cells_dir", "sentences_dir", "model", "perturbations_file", "outdir"):
        options[name] = options[name] and Path(options[name])
    write_plan(**options)
