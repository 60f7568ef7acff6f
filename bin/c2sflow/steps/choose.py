"""Choose the cells that get an attention map."""

import click


@click.command(help=__doc__)
@click.option(
    "--cells-dir",
    required=True,
    type=click.Path(exists=True),
    help="<id>.obs.parquet of SENTENCES.",
)
@click.option(
    "--attention-maps", required=True, type=click.IntRange(0), help="Number of cells to choose."
)
@click.option("--label-column", help="Column of obs: divide the cells among its labels.")
@click.option("--seed", type=int, default=42)
@click.option("--outdir", default=".", help="Gets chosen/<task>/<shard>.chosen.parquet.")
def main(cells_dir, attention_maps, label_column, seed, outdir):
    """Parse, call the library, write."""
    from pathlib import Path

    import pandas as pd

    from c2sflow.common.files import write_beside
    from c2sflow.common.parquet import read_parquet
    from c2sflow.data.sampling import attention_tasks, choose_cells

    columns = list(dict.fromkeys(["shard", "cell_id", "sample", label_column or "sample"]))
    paths = sorted(Path(cells_dir).glob("*.obs.parquet"))
    cells = pd.concat(
        [read_parquet(path, columns).to_pandas() for path in paths], ignore_index=True
    )
    chosen = choose_cells(cells, attention_maps, label_column=label_column, seed=seed)
    tasks = attention_tasks(chosen["shard"])
    for shard, rows in chosen.groupby("shard"):
        target = Path(outdir) / "chosen" / tasks[shard] / f"{shard}.chosen.parquet"
        with write_beside(target) as partial:
            rows.to_parquet(partial, index=False)
