"""What each perturbation does to each gene, over the cells: means, tests, adjusted p-values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import wilcoxon

from c2sflow.common.statistics import adjusted, mean_of, replicate_means
from c2sflow.perturbation.shifts import Shifts
from c2sflow.sentences.no_ops import OWN_SENTENCE

BLOCK_ELEMENTS = 2**22  # of the dense blocks that are tested at a time


def effects_table(shifts: Shifts, genes: Sequence[str], measured: np.ndarray) -> pd.DataFrame:
    """Effects of one condition, a row per gene that occurs in a compared sentence.

    Parameters
    ----------
    shifts
        From `c2sflow.perturbation.shifts.read_shifts`.
    genes
        Names of the columns.
    measured
        bool (n_samples, n_genes): which genes each sample has. A cell shows nothing of a gene that
        its sample lacks.

    Returns
    -------
    The columns of `shifts.names`, gene, compared_with, mean_rank_shift (below 0: towards the top),
    mean_log2_fold_change, n_cells, p_value and p_adjusted; the strongest mean fold change first.
    The p-values are over cells, `signed_rank_test`; NaN without a no-op, for then every gene has
    the difference between an answer and a cell. If the cells have replicates, also the columns of
    `_replicate_columns`.
    """
    per_sample = np.bincount(shifts.cells["sample"].astype(int), minlength=len(measured))
    n_cells = per_sample @ measured
    listed = np.flatnonzero(np.diff(shifts.ranks.indptr))
    ranks, folds = shifts.ranks[:, listed], shifts.folds[:, listed]
    tested = shifts.compared_with is not None
    p_values = signed_rank_test(ranks) if tested else np.full(listed.size, np.nan)
    table = pd.DataFrame(
        {
            "gene": np.asarray(genes, dtype=object)[listed],
            "compared_with": shifts.compared_with or OWN_SENTENCE,
            "mean_rank_shift": _column_sums(ranks) / n_cells[listed],
            "mean_log2_fold_change": _column_sums(folds) / n_cells[listed],
            "n_cells": n_cells[listed],
            "p_value": p_values,
            "p_adjusted": adjusted(p_values),
        }
    )
    if "replicate" in shifts.cells:
        table = table.assign(**_replicate_columns(folds, measured[:, listed], shifts.cells, tested))
    for place, (name, value) in enumerate(shifts.names.items()):
        table.insert(place, name, value)
    strength = -table["mean_log2_fold_change"].abs().round(6)
    return table.iloc[np.lexsort((table["gene"].to_numpy(dtype=str), strength))]


def _replicate_columns(
    folds: sparse.csc_matrix, measured: np.ndarray, cells: pd.DataFrame, tested: bool
) -> dict[str, np.ndarray]:
    """Effects with the replicate as the unit: each one's mean over its cells counts once.

    Parameters
    ----------
    folds
        CSC (n_cells, n_genes).
    measured
        bool (n_samples, n_genes): which genes each sample has.
    cells
        sample and replicate of each cell.
    tested
        Whether there are to be p-values.

    Returns
    -------
    n_replicates, replicate_log2_fold_change (mean of the replicates' means), and the p-value of
    Student's t over the replicates, which is that of the intercept of a linear model of these
    pseudobulk values; NaN for fewer than three. replicate_p_adjusted: Benjamini and Hochberg's.
    """
    from_samples = pd.get_dummies(cells["sample"].astype(int), dtype=float)
    shares = replicate_means(from_samples.to_numpy(), cells["replicate"]).to_numpy()
    shares = shares @ measured[from_samples.columns]  # of a replicate's cells, those with the gene
    sums = replicate_means(folds, cells["replicate"]).to_numpy()
    means = np.divide(sums, shares, out=np.full_like(sums, np.nan), where=shares > 0)
    found = mean_of(means.T)
    p_values = found.p_values() if tested else np.full(folds.shape[1], np.nan)
    return {
        "n_replicates": np.isfinite(means).sum(axis=0),
        "replicate_log2_fold_change": found.value,
        "replicate_p_value": p_values,
        "replicate_p_adjusted": adjusted(p_values),
    }


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
