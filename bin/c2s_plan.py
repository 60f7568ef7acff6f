#!/usr/bin/env python3
"""Which cells are perturbed with what, for the whole data set: a table for each shard."""

import click

from c2s_script import run


@click.command(help=__doc__)
@click.option("--cells-dir", required=True, type=click.Path(exists=True), help="*.obs.parquet.")
@click.option("--perturbations", help="Comma-separated list.")
@click.option("--perturbations-file", type=click.Path(exists=True), help="One a line, or a table.")
@click.option("--perturbation-column", help="Column of obs that names each cell's perturbation.")
@click.option("--control", help="pandas query on obs that picks the control cells.")
@click.option("--max-cells-per-perturbation", type=click.IntRange(1))
@click.option("--seed", type=int, default=42)
@click.option("--outdir", default=".", help="Gets plans/<shard>.plan.parquet and plan.json.")
def main(cells_dir, perturbations, perturbations_file, outdir, **options):
    """Parse, call the library, write."""
    from pathlib import Path

    import pandas as pd

    from c2sflow.perturbations import parse_perturbations
    from c2sflow.planning import plan_predictions
    from c2sflow.provenance import write_beside, write_json

    file = Path(perturbations_file) if perturbations_file else None
    tables = [pd.read_parquet(path) for path in sorted(Path(cells_dir).glob("*.obs.parquet"))]
    plan = plan_predictions(
        pd.concat(tables, ignore_index=True),
        perturbations=parse_perturbations(perturbations, file),
        **options,
    )
    for shard, rows in plan.groupby("shard"):
        with write_beside(Path(outdir) / "plans" / f"{shard}.plan.parquet") as partial:
            rows.to_parquet(partial, index=False)
    counts = plan.groupby("shard").size()
    write_json(Path(outdir) / "plan.json", {str(k): int(v) for k, v in counts.items()})


if __name__ == "__main__":
    run(main)
