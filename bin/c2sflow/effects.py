"""What each perturbation does to each gene, over the cells: means, tests, adjusted p-values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import false_discovery_control, wilcoxon

from c2sflow.shift_matrices import Shifts

BLOCK_ELEMENTS = 2**22  # of the dense blocks that are tested at a time


def effects_table(shifts: Shifts, genes: Sequence[str], measured: np.ndarray) -> pd.DataFrame:
    """Effects of one condition, a row per gene that stands in a compared sentence.

    Parameters
    ----------
    shifts
        From `c2sflow.shift_matrices.read_shifts`.
    genes
        Names of the columns.
    measured
        bool (n_samples, n_genes): which genes each sample has. A cell says nothing of a gene that
        its sample lacks.

    Returns
    -------
    The columns of `shifts.names`, gene, mean_rank_shift (below 0: towards the top),
    mean_log2_fold_change, n_cells, p_value and p_adjusted; the strongest mean fold change first.
    """
    per_sample = np.bincount(shifts.cells["sample"].astype(int), minlength=len(measured))
    n_cells = per_sample @ measured
    listed = np.flatnonzero(np.diff(shifts.ranks.indptr))
    ranks, folds = shifts.ranks[:, listed], shifts.folds[:, listed]
    p_values = signed_rank_test(ranks)
    table = pd.DataFrame(
        {
            "gene": np.asarray(genes, dtype=object)[listed],
            "mean_rank_shift": _column_sums(ranks) / n_cells[listed],
            "mean_log2_fold_change": _column_sums(folds) / n_cells[listed],
            "n_cells": n_cells[listed],
            "p_value": p_values,
            "p_adjusted": false_discovery_control(p_values) if listed.size else p_values,
        }
    )
    for place, (name, value) in enumerate(shifts.names.items()):
        table.insert(place, name, value)
    strength = -table["mean_log2_fold_change"].abs().round(6)
    return table.iloc[np.lexsort((table["gene"].to_numpy(dtype=str), strength))]


def _column_sums(matrix: sparse.csc_matrix) -> np.ndarray:
    return np.asarray(matrix.sum(axis=0, dtype=np.float64)).ravel()


def signed_rank_test(matrix: sparse.csc_matrix) -> np.ndarray:
    """Wilcoxon signed-rank test of each column against a median of 0.

    Rank shifts are bounded, tied, and often the same in every cell, where a t-test would find a
    variance of 0. Cells without a shift are left out (as scipy does by default); the normal
    approximation with continuity correction is used, and no p-value is below that of the exact
    test at its most extreme, 2^(1 - n) for n cells with a shift.

    Parameters
    ----------
    matrix
        CSC (n_cells, n_genes).

    Returns
    -------
    float64 (n_genes,), two-sided; 1 where no cell has a shift.
    """
    matrix = matrix.copy()
    matrix.eliminate_zeros()
    n_shifted = np.diff(matrix.indptr)
    p_values = np.ones(matrix.shape[1])
    # Columns alike in their number of shifts make dense blocks with little padding: by zeros,
    # which the test leaves out.
    order = np.argsort(n_shifted, kind="stable")
    order = order[n_shifted[order] > 0]
    while order.size:
        most = max(1, BLOCK_ELEMENTS // int(n_shifted[order[-1]]))
        order, columns = order[:-most], order[-most:]
        block = np.zeros((n_shifted[columns[-1]], columns.size))
        for place, column in enumerate(columns):
            values = matrix.data[matrix.indptr[column] : matrix.indptr[column + 1]]
            block[: values.size, place] = values
        tested = wilcoxon(block, method="asymptotic", correction=True, axis=0)
        p_values[columns] = np.maximum(tested.pvalue, 2.0 ** (1 - n_shifted[columns]))
    return p_values
