"""Bulk samples: what is told of them in place of the filters that cells pass."""

from __future__ import annotations

import pandas as pd

KINDS = ("cells", "bulk")
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
TOP_GENES = 50  # a library that so few genes make up is of poor complexity
TOP = f"pct_counts_in_top_{TOP_GENES}_genes"
MOST_SAMPLES = 500  # in the report
SHOWN = ("n_cells", "total_counts", "n_genes_by_counts", TOP, "pct_counts_mt")
# What no single cell has, and hardly a bulk sample lacks.
BULK_COUNTS, BULK_SAMPLES = 2_000_000, 1000


def input_kind(given: str, path: str) -> str:
    """Whether rows are "cells" or "bulk": as given; for "auto", tables of text are bulk."""
    if given in KINDS:
        return given
    return "bulk" if path.lower().endswith(TABLES) else "cells"


def bulk_table(obs: pd.DataFrame) -> list[dict]:
    """A row for each of the first samples, for qc.json."""
    shown = obs[[name for name in SHOWN if name in obs]].head(MOST_SAMPLES)
    return [
        {"name": str(name), **{k: None if pd.isna(v) else float(v) for k, v in row.items()}}
        for name, row in shown.iterrows()
    ]
