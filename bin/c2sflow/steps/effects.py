"""Compute the effects of perturbations on genes and gene sets."""

import click

FOLDER = click.Path(exists=True, file_okay=False)


@click.command(help=__doc__)
@click.option("--sentences-dir", required=True, type=FOLDER, help="<id>.sentences.json.")
@click.option("--shards-dir", required=True, type=FOLDER, help="<shard>.parquet of SENTENCES.")
@click.option("--perturbed-dir", required=True, type=FOLDER, help="<shard>.perturbed.parquet.")
@click.option("--gene-sets-file", type=click.Path(exists=True), help="GMT: screen these sets.")
@click.option("--context", help="Column of obs whose values the screen compares.")
@click.option("--replicate-column", help="Column of obs with the donor or sample of each cell.")
@click.option("--outdir", default=".", help="Gets perturbation/*.tsv and effects.json.")
def main(context, replicate_column, **paths):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.perturbation.effect_files import write_effects

    places = {name: path and Path(path) for name, path in paths.items()}
    write_effects(**places, context=context, replicate_column=replicate_column)
