"""PLAN of a screen: reading its table, and drawing cells for each row, by the number of rows.

Rows of one perturbation told apart by a free column, which are the hardest to name, and rows of
their own names; 5 control cells are drawn for each. CPU seconds, each in a process of its own.

python benchmarks/bench_plan.py --rows 2000 --rows 20000 --controls 500 --controls 100000
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import pandas as pd
from measure import report_one, run_one, save

DRAWN = 5


def one(n_rows: int, n_controls: int) -> dict:
    """CPU seconds of reading a table of so many rows, and of planning it for so many cells."""
    from c2sflow.inputs.perturbations import read_perturbations
    from c2sflow.perturbation.planning import plan_predictions
    from c2sflow.sentences.no_ops import NoOps

    cells = pd.DataFrame(
        {
            "shard": [f"s.{n // 2000:05d}" for n in range(n_controls)],
            "cell_id": [f"AAACCTGAGAAACC-{n}" for n in range(n_controls)],
            "sample": "s",
        }
    )
    figures = {}
    tables = {
        "one_name": [f"siRNA,T{n}" for n in range(n_rows)],
        "own_names": [f"G{n}," for n in range(n_rows)],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in tables.items():
            path = Path(folder) / f"{name}.csv"
            path.write_text("\n".join(["perturbation,target", *lines]), encoding="utf-8")
            start = time.process_time()
            treatments, faults = read_perturbations(path.name, path)
            assert len(treatments) == n_rows, faults
            figures[f"read_{name}"] = time.process_time() - start
    start = time.process_time()
    plan = plan_predictions(
        cells, treatments=treatments, max_cells_per_perturbation=DRAWN,
        no_ops=NoOps("control", None),
    )  # fmt: skip
    figures["plan"] = time.process_time() - start
    figures["microseconds_a_pair"] = 1e6 * figures["plan"] / (n_rows * n_controls)
    return {**figures, "planned": len(plan)}


@click.command(help=__doc__)
@click.option("--rows", multiple=True, type=int, default=(2000, 20_000))
@click.option("--controls", multiple=True, type=int, default=(500, 100_000))
@click.option("--one", "pair", nargs=2, type=int, hidden=True)
def main(rows: tuple[int, ...], controls: tuple[int, ...], pair: tuple[int, int] | None) -> None:
    """Measure each size and write benchmarks/results/plan.json."""
    if pair:
        report_one(lambda: one(*pair))
        return
    figures = []
    for n_controls in controls:
        for n_rows in rows:
            made = run_one(__file__, "--one", n_rows, n_controls)
            figures.append({"rows": n_rows, "controls": n_controls, **made})
            print(figures[-1], flush=True)
    save("plan", {"drawn": DRAWN, "sizes": figures})


if __name__ == "__main__":
    main()
