"""Tables with a row for each gene of each condition: what the report draws of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from c2sflow.data.result_tables import read_parts

MEASURED, PREDICTED = "measured_log2_fold_change", "predicted_log2_fold_change"
TEXT = ("condition", "gene", "compared_with", "unit")
PART = 50_000  # rows read at a time
MOST_CONDITIONS = 20
MOST_GENES = 1000  # of a condition


def read_changes(path: Path) -> pd.DataFrame | None:
    """The largest changes of each of the first conditions of genes.tsv; None without one."""
    if not path.exists():
        return None
    kept = pd.DataFrame()
    for part in read_parts(path, TEXT, PART):
        kept = largest(pd.concat([kept, part]), [MEASURED, PREDICTED])
    return kept


def largest(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Of each of the first conditions the genes with the largest value in one of the columns."""
    first = table[table["condition"].isin(table["condition"].unique()[:MOST_CONDITIONS])]
    first = first.reset_index(drop=True)
    size = first[list(columns)].abs().max(axis=1)
    rank = size.groupby(first["condition"], sort=False).rank("first", ascending=False)
    return first[rank <= MOST_GENES]
