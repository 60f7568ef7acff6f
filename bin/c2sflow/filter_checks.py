"""Whether any cell and gene passes QC's filters, found out before QC."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.cells import CellData
from c2sflow.filters import Filters
from c2sflow.normalisation import linear_values
from c2sflow.states import State
from c2sflow.symbols import is_mitochondrial


def check_filters(
    data: CellData,
    symbols: pd.Index,
    state: State,
    filters: Filters,
    genome_shares: np.ndarray | None = None,
    declared: bool = False,
) -> None:
    """Refuse what QC would refuse: data of which nothing passes.

    Some hundred cells show it nearly always; only where none of them passes, QC's own first pass is
    made over all cells.

    Parameters
    ----------
    data
        The open input, its matrix and genes chosen.
    symbols
        Of its genes.
    state
        Of its values.
    filters
        Thresholds.
    genome_shares, declared
        See `c2sflow.qc_survey.survey`.

    Raises
    ------
    UserError
        QC's own.
    """
    if filters.skip and genome_shares is None:
        return
    if genome_shares is None and _passes(data.sample_rows(), symbols, state, filters):
        return
    from c2sflow.qc_survey import survey  # imports scanpy, which takes seconds

    survey(data, symbols, state, filters, genome_shares=genome_shares, declared=declared)


def _passes(block: sparse.csr_matrix, symbols: pd.Index, state: State, filters: Filters) -> bool:
    """Whether some of these cells are kept, and genes that enough of them have."""
    metrics = pd.DataFrame({"n_genes_by_counts": block.getnnz(axis=1)})
    mitochondrial = np.asarray(is_mitochondrial(symbols), dtype=bool)
    if mitochondrial.any():
        values = linear_values(block, state).astype(np.float64)
        total = np.asarray(values.sum(axis=1)).ravel()
        part = np.asarray(values[:, mitochondrial].sum(axis=1)).ravel()
        metrics["pct_counts_mt"] = 100 * np.divide(part, total, where=total > 0, out=part * 0)
    kept = block[filters.reason(metrics) < 0]
    return bool(kept.shape[0] and (kept.getnnz(axis=0) >= filters.min_cells).any())
