"""Write the predicted cells in the forms of the field's benchmarks."""

import click

FILE = click.Path(exists=True, dir_okay=False)
RESULT = click.Path(exists=True)  # a file or, of zarr, a folder


@click.command(help=__doc__)
@click.option("--cells", required=True, type=RESULT, help="c2s.h5ad or c2s.zarr.")
@click.option("--perturbed", required=True, type=FILE, help="c2s_perturbed.h5ad.")
@click.option("--export", required=True, help="Tools, separated by commas.")
@click.option("--measured-column", help="Column of obs with the measured perturbations.")
@click.option("--control", help="pandas query on obs; default: cells labelled as control.")
@click.option("--training-cells", help="pandas query on obs: cells the model was trained on.")
@click.option(
    "--evaluation-cells", type=click.IntRange(50), default=10_000, help="Maximum number of cells."
)
@click.option("--seed", type=int, default=42)
@click.option("--outdir", default=".", help="Gets exports/.")
def main(cells, perturbed, export, outdir, **options):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.benchmark.compared import Settings
    from c2sflow.benchmark.exports import write_exports

    tools = [name.strip() for name in export.split(",")]
    write_exports(tools, Path(cells), Path(perturbed), Path(outdir), Settings(**options))
