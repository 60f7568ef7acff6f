"""Rank the gene pairs with the strongest attention per label."""

import click


@click.command(help=__doc__)
@click.option(
    "--maps-dir", required=True, type=click.Path(exists=True), help="<shard>.attention.h5."
)
@click.option("--outdir", default=".", help="Gets attention_pairs.tsv.")
def main(maps_dir, outdir):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.data.result_tables import write_table
    from c2sflow.model.attention_files import read_cells
    from c2sflow.results.gene_pairs import pair_table

    paths = sorted(Path(maps_dir).glob("*.attention.h5"))
    table = pair_table(cell for path in paths for cell in read_cells(path))
    write_table(table, Path(outdir) / "attention_pairs.tsv")
