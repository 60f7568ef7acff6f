"""QC's first pass over the cells: their metrics, and what is to be kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.common.progress import progress_bar
from c2sflow.data.backed import CellData
from c2sflow.data.genes.symbols import is_mitochondrial
from c2sflow.data.qc.filters import GENOME_REASONS, REASONS, Filters, mark_other_genomes
from c2sflow.data.state.decision import Decision, check_declared, check_state
from c2sflow.data.state.evidence import Evidence, cell_evidence
from c2sflow.data.state.normalization import State, linear_values


@dataclass(frozen=True)
class Survey:
    """What the first pass finds: state and fate of each cell, and which genes are kept."""

    state: Decision
    metrics: pd.DataFrame
    reason: np.ndarray
    genes: np.ndarray
    reasons: tuple[str, ...] = REASONS

    @property
    def cells(self) -> np.ndarray:
        """bool (n_obs,): the kept cells."""
        return self.reason < 0

    @property
    def dropped(self) -> dict[str, int]:
        """Cells dropped for each reason."""
        return {
            name: int((self.reason == number).sum()) for number, name in enumerate(self.reasons)
        }


def cell_metrics(
    block: sparse.csr_matrix, mitochondrial: np.ndarray, state: State, n_top: int | None = None
) -> pd.DataFrame:
    """Metrics of each cell or bulk sample that mean something for values in this state.

    They are those of `scanpy.pp.calculate_qc_metrics`, by its names and in its arithmetic:
    ``n_genes_by_counts``; ``total_counts`` and ``total_counts_mt`` of raw counts only;
    ``pct_counts_mt`` if the data has mitochondrial genes; of the `n_top` highest genes the
    percentage, ``pct_counts_in_top_<n_top>_genes``, if the data has as many. scanpy computes
    metrics of each gene beside them, which a pass by blocks has no use for.

    Parameters
    ----------
    block
        Cells × genes, CSR without explicit zeros.
    mitochondrial
        bool (n_genes,).
    state
        Of the values.
    n_top
        None for no such percentage.

    Returns
    -------
    A row for each cell.
    """
    values = linear_values(block, state)
    if n_top:  # float32 does not hold the millions of counts of a bulk sample exactly
        values = values.astype(np.float64)
    total = _row_sums(values)
    metrics = {"n_genes_by_counts": values.getnnz(axis=1)}
    if state.name == "counts":
        metrics["total_counts"] = total
    with np.errstate(divide="ignore", invalid="ignore"):
        if mitochondrial.any():
            part = values @ mitochondrial.astype(total.dtype)  # adds zeros, in the same order
            if state.name == "counts":
                metrics["total_counts_mt"] = part
            metrics["pct_counts_mt"] = part / total * 100
        if n_top and n_top <= mitochondrial.size:
            metrics[f"pct_counts_in_top_{n_top}_genes"] = _top_sums(values, n_top) / total * 100
    return pd.DataFrame(metrics)


def _row_sums(values: sparse.csr_matrix) -> np.ndarray:
    return np.ravel(values.sum(axis=1))


def _top_sums(values: sparse.csr_matrix, n_top: int) -> np.ndarray:
    """Sum of the largest values of each row."""
    rows = np.split(values.data, values.indptr[1:-1])
    return np.array([np.sort(row)[-n_top:].sum() for row in rows])


def survey(
    data: CellData,
    symbols: pd.Index,
    state: State,
    filters: Filters,
    chunk_size: int | None = None,
    n_top: int | None = None,
    genome_shares: np.ndarray | None = None,
    declared: bool = False,
) -> Survey:
    """First pass: what is to be kept.

    Parameters
    ----------
    data
        The open input.
    symbols
        Of its genes.
    state
        Of its values; every cell is checked against it.
    filters
        Thresholds.
    chunk_size
        Rows read at once; None bounds memory.
    n_top
        See `cell_metrics`.
    genome_shares
        Share of each cell's expression that is of the genome chosen; None if there is one only.
    declared
        Whether the user declared the state: then only the impossible is refused.

    Raises
    ------
    UserError
        If cells are in another state, or nothing is kept.
    """
    mitochondrial = is_mitochondrial(symbols)
    n_cells = np.zeros(data.n_vars, dtype=np.int64)
    # In arrays of all cells: pieces kept from each block would leave its large arrays' places in
    # the heap too small for those of the next.
    evidence, reason = Evidence.of_none(data.n_obs), np.empty(data.n_obs, np.int64)
    metrics: dict[str, np.ndarray] = {}
    with progress_bar(data.n_obs, "cell") as bar:
        for start, block in data.chunks(chunk_size):
            rows = slice(start, start + block.shape[0])
            evidence.put(start, cell_evidence(block))
            own = cell_metrics(block, mitochondrial, state, n_top)
            for name, values in own.items():
                column = metrics.setdefault(name, np.empty(data.n_obs, values.dtype))
                column[rows] = values
            reason[rows] = filters.reason(own)
            if genome_shares is not None:
                mark_other_genomes(reason[rows], genome_shares[rows])
            kept = reason[rows] < 0
            n_cells += (block if kept.all() else block[kept]).getnnz(axis=0)
            bar.update(block.shape[0])
    if declared:
        decision = check_declared(evidence, data.obs, state.name, data.label)
    else:
        decision = check_state(evidence, data.obs, state, data.label)
    genes = n_cells >= (0 if filters.skip else filters.min_cells)
    names = REASONS if genome_shares is None else REASONS + GENOME_REASONS
    found = Survey(decision, pd.DataFrame(metrics), reason, genes, names)
    _check_kept(found, filters, data.label)
    return found


def _check_kept(found: Survey, filters: Filters, label: str) -> None:
    if not found.cells.any():
        n_genes = found.metrics["n_genes_by_counts"]
        dropped = found.dropped
        foreign = "".join(
            f"{dropped[name]} are {what}, "
            for name, what in zip(
                GENOME_REASONS, ("of another genome", "of mixed genomes"), strict=True
            )
            if dropped.get(name)
        )
        raise UserError(
            f"{label}: no cell passes: {foreign}{dropped['no_genes']} have no genes, "
            f"{dropped['min_genes']} fewer than --min_genes {filters.min_genes}, "
            f"{dropped['max_pct_mt']} more than --max_pct_mt {filters.max_pct_mt:g}; "
            f"the median cell has {n_genes.median():.0f} genes: lower the threshold, or --skip_qc"
        )
    if not found.genes.any():
        raise UserError(
            f"{label}: no gene is in --min_cells {filters.min_cells} of the {found.cells.sum()} "
            "kept cells; lower it, or --skip_qc"
        )
