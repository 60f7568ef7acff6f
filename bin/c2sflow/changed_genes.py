"""Which genes two groups of cells part by: Welch's t-test, for many splits of the cells at once."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.stats import t as student

from c2sflow.halves import shares

N_TOP = 20
SIGNIFICANT = 0.05


def changed_genes(
    expression: sparse.csr_matrix, measured: np.ndarray, control: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Genes that measured cells have more or less of than control cells.

    Welch's t-test (scanpy's `rank_genes_groups` with ``method="t-test"``), and Benjamini and
    Hochberg's adjustment over all genes.

    Parameters
    ----------
    expression
        CSR (n_cells, n_genes).
    measured, control
        int (n_rows, n_cells): how often each cell counts in each split, two cells or more.

    Returns
    -------
    The 20 genes with the largest absolute t, int (n_rows, 20 or n_genes), largest first; and those
    with an adjusted p below 0.05, bool (n_rows, n_genes).
    """
    squares = expression.multiply(expression).tocsr()
    means, variances, sizes = [], [], []
    for times in (measured, control):
        weights, n = shares(times), times.sum(axis=1, keepdims=True)
        mean = weights @ expression
        variance = np.maximum(weights @ squares - mean**2, 0) * n / np.maximum(n - 1, 1)
        means.append(mean)
        variances.append(variance / n)
        sizes.append(n)
    error = np.sqrt(variances[0] + variances[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(error > 1e-12, (means[0] - means[1]) / error, 0.0)
        freedom = error**4 / sum(
            v**2 / np.maximum(n - 1, 1) for v, n in zip(variances, sizes, strict=True)
        )
    scores = np.nan_to_num(scores)
    strength = -np.abs(scores)
    n_top = min(N_TOP, strength.shape[1])
    top = np.sort(np.argpartition(strength, n_top - 1, axis=1)[:, :n_top], axis=1)
    order = np.argsort(np.take_along_axis(strength, top, axis=1), axis=1, kind="stable")
    top = np.take_along_axis(top, order, axis=1)
    return top, significant(scores, freedom)


def significant(scores: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Whose p, adjusted over the genes of its row (Benjamini & Hochberg, 1995), is below 0.05.

    Parameters
    ----------
    scores, freedom
        float (n_rows, n_genes): t, and its degrees of freedom.
    """
    found = np.zeros(scores.shape, dtype=bool)
    n = scores.shape[1]
    # No p above 0.05 passes: none of a |t| that the normal distribution does not reject.
    for row, near in enumerate(np.abs(scores) > 1.95):
        genes = np.flatnonzero(near)
        p = 2 * student.sf(np.abs(scores[row, genes]), freedom[row, genes])
        order = np.argsort(p)
        passed = np.flatnonzero(p[order] * n / np.arange(1, genes.size + 1) < SIGNIFICANT)
        if passed.size:
            found[row, genes[order[: passed[-1] + 1]]] = True
    return found
