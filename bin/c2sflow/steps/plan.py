"""Plan which cells get which perturbation."""

import click

FOLDER = click.Path(exists=True, file_okay=False)


@click.command(help=__doc__)
@click.option("--cells-dir", required=True, type=FOLDER, help="<id>.obs.parquet.")
@click.option("--sentences-dir", required=True, type=FOLDER, help="<id>.sentences.json.")
@click.option("--model", required=True, type=FOLDER, help="tokenizer.json, config.json.")
@click.option("--perturbations", help="Comma-separated list.")
@click.option(
    "--perturbations-file", type=click.Path(exists=True), help="One per line, or a table."
)
@click.option("--perturbation-column", help="Column of obs with the perturbations.")
@click.option("--control", help="Query on obs that selects the control cells.")
@click.option("--training-cells", help="pandas query on obs: cells the model was trained on.")
@click.option("--max-cells-per-perturbation", type=click.IntRange(1))
@click.option("--no-op", default="auto", help="auto, none, or the text of a no-op.")
@click.option("--measured-column", help="Column of obs with the measured perturbations.")
@click.option("--label-column", help="Column of obs with cell types.")
@click.option("--perturbation-prompt", help="Prompt template, or a file with it.")
@click.option("--max-answer-genes", type=click.IntRange(1), help="Default: the model's own.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Default: as the genes need.")
@click.option(
    "--num-samples", type=click.IntRange(1), default=1, help="Answers per cell and perturbation."
)
@click.option("--seed", type=int, default=42)
@click.option("--outdir", default=".", help="Gets plans/<shard>.plan.parquet and plan.json.")
def main(**options):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.perturbation.plan_files import write_plan

    for name in ("cells_dir", "sentences_dir", "model", "perturbations_file", "outdir"):
        options[name] = options[name] and Path(options[name])
    write_plan(**options)
