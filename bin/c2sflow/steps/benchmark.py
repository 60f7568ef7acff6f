"""Score the predicted cells by the Virtual Cell Challenge's metrics, with cell-eval2."""

import click

FILE = click.Path(exists=True, dir_okay=False)
RESULT = click.Path(exists=True)  # a file or, of zarr, a folder


@click.command(help=__doc__)
@click.option("--cells", required=True, type=RESULT, help="c2s.h5ad or c2s.zarr.")
@click.option("--perturbed", required=True, type=FILE, help="c2s_perturbed.h5ad.")
@click.option("--measured-column", help="Column of obs with the measured perturbations.")
@click.option("--control", help="pandas query on obs; default: cells labelled as control.")
@click.option("--training-cells", help="pandas query on obs: cells the model was trained on.")
@click.option(
    "--evaluation-cells", type=click.IntRange(50), default=10_000, help="Maximum number of cells."
)
@click.option("--seed", type=int, default=42)
@click.option("--outdir", default=".", help="Gets evaluation/.")
def main(cells, perturbed, outdir, **options):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.benchmark.compared import Settings
    from c2sflow.benchmark.scores import write_benchmark

    write_benchmark(Path(cells), Path(perturbed), Path(outdir), Settings(**options))
