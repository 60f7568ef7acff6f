"""Bulk samples: the metrics reported for them instead of the filters for cells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.backed import CellData
from c2sflow.data.orientation import BARCODE_SHARE, barcode_share
from c2sflow.data.state.normalization import are_counts
from c2sflow.data.text_tables import SUFFIXES

KINDS = ("cells", "bulk")
# Of tables: so few rows are samples unless barcodes name them; of more, the share of zeros and the
# median row sum decide (a million reads, or a million transcripts, are a bulk sample's).
FEW_SAMPLES, BULK_SUM = 50, 300_000
BULK_ZEROS, CELL_ZEROS = 0.6, 0.7
TOP_GENES = 50  # a library that so few genes make up is of poor complexity
TOP = f"pct_counts_in_top_{TOP_GENES}_genes"
MOST_SAMPLES = 500  # in the report
SHOWN = ("n_cells", "total_counts", "n_genes_by_counts", TOP, "pct_counts_mt")
# What no single cell has, and hardly a bulk sample lacks.
BULK_COUNTS, BULK_SAMPLES = 2_000_000, 1000


def input_kind(given: str, path: str, data: CellData) -> tuple[str, str | None]:
    """Whether rows are cells or bulk samples.

    Parameters
    ----------
    given
        "cells" or "bulk", which is taken; for "auto" the data decide.
    path
        A table of text may hold either, all other formats hold cells.
    data
        The open input.

    Returns
    -------
    "cells" or "bulk", and a line that gives the reason, for tables only.

    Raises
    ------
    UserError
        If a table may be of either kind.
    """
    if given in KINDS:
        return given, None
    if not is_table(path):
        return "cells", None
    kind, why = _kind_of_table(data)
    if kind is None:
        raise UserError(
            f"{data.label}: rows may be cells or bulk samples ({why}); give --input_kind cells or "
            "--input_kind bulk"
        )
    return kind, f"rows taken as {'bulk samples' if kind == 'bulk' else 'cells'}: {why}"


def _kind_of_table(data: CellData) -> tuple[str | None, str]:
    """The kind, None if that is not clear, and what it was decided by."""
    if barcode_share(data.obs.index) >= BARCODE_SHARE:
        return "cells", f"their names are barcodes (such as {data.obs.index[0]})"
    if data.n_obs <= FEW_SAMPLES:
        return "bulk", f"{data.n_obs} rows without barcodes for names"
    rows = data.sample_rows()
    zeros = 1 - rows.nnz / (rows.shape[0] * rows.shape[1])
    total = float(np.median(np.asarray(rows.sum(axis=1))))
    why = f"{data.n_obs} rows, {zeros:.0%} zeros, median sum {total:.3g}"
    if zeros <= BULK_ZEROS and total >= BULK_SUM:
        return "bulk", why
    if zeros >= CELL_ZEROS and (total < BULK_SUM or not are_counts(rows.data)):
        return "cells", why
    return None, why


def is_table(path: str) -> bool:
    """Whether this is the name of a table of text."""
    return path.lower().endswith(SUFFIXES)


def bulk_table(obs: pd.DataFrame) -> list[dict]:
    """A row for each of the first samples, for qc.json."""
    shown = obs[[name for name in SHOWN if name in obs]].head(MOST_SAMPLES)
    return [
        {"name": str(name), **{k: None if pd.isna(v) else float(v) for k, v in row.items()}}
        for name, row in shown.iterrows()
    ]
