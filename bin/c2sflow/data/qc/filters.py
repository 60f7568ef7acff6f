"""Which cells and genes QC keeps, and whether any passes, found out before QC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.data.backed import CellData
from c2sflow.data.genes.references import GENOME_SHARE
from c2sflow.data.genes.symbols import is_mitochondrial
from c2sflow.data.state.normalization import State, linear_values

# Reasons to drop a cell, in order: the first that holds is counted.
REASONS = ("no_genes", "min_genes", "max_pct_mt")
# With a reference of several genomes: before the filters, and whatever --skip_qc leaves out.
GENOME_REASONS = ("other_genome", "mixed_genomes")


@dataclass(frozen=True)
class Filters:
    """Which cells and genes are kept."""

    min_genes: int = 200
    min_cells: int = 3
    max_pct_mt: float = 20.0
    skip: bool = False

    def for_bulk(self) -> Filters:
        """What bulk samples must pass: to have genes; and genes, to be in one of the samples."""
        return Filters(0, 1, 100.0, self.skip)

    def reason(self, metrics: pd.DataFrame) -> np.ndarray:
        """Position in `REASONS` of why each cell is dropped; -1 for kept cells."""
        reason = np.full(len(metrics), -1)
        if self.skip:
            return reason
        n_genes = metrics["n_genes_by_counts"].to_numpy()
        # Later assignments win: the first reason comes last.
        if "pct_counts_mt" in metrics:
            reason[metrics["pct_counts_mt"].to_numpy() > self.max_pct_mt] = 2
        reason[n_genes < self.min_genes] = 1
        reason[n_genes == 0] = 0
        return reason


def mark_other_genomes(reason: np.ndarray, shares: np.ndarray) -> None:
    """Mark cells of another genome and mixtures (doublets) in `reason`, by `GENOME_SHARE`."""
    reason[shares < GENOME_SHARE] = len(REASONS) + 1
    reason[shares <= 1 - GENOME_SHARE] = len(REASONS)


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
        See `c2sflow.data.qc.survey.survey`.

    Raises
    ------
    UserError
        QC's own.
    """
    if filters.skip and genome_shares is None:
        return
    if genome_shares is None and _passes(data.sample_rows(), symbols, state, filters):
        return
    from c2sflow.data.qc.survey import survey  # imports this module

    survey(data, symbols, state, filters, genome_shares=genome_shares, declared=declared)


def _passes(block: sparse.csr_matrix, symbols: pd.Index, state: State, filters: Filters) -> bool:
    """Whether some of these cells are kept, and genes that enough of them have."""
    metrics = pd.DataFrame({"n_genes_by_counts": block.getnnz(axis=1)})
    mitochondrial = is_mitochondrial(symbols)
    if mitochondrial.any():
        values = linear_values(block, state).astype(np.float64)
        total = np.asarray(values.sum(axis=1)).ravel()
        part = values @ mitochondrial.astype(np.float64)
        metrics["pct_counts_mt"] = 100 * np.divide(part, total, where=total > 0, out=part * 0)
    kept = block[filters.reason(metrics) < 0]
    return bool(kept.shape[0] and (kept.getnnz(axis=0) >= filters.min_cells).any())
