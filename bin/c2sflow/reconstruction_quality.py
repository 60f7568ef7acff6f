"""What is lost between expression and rank: the reconstruction against the cells themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from c2sflow.resampling import Figure, bootstrap_interval, weights

MAX_CELLS = 2000  # pairs of all their genes are ranked together


def reconstruction_figures(
    matrix: sparse.csr_matrix,
    sentences: Sequence[np.ndarray],
    samples: Sequence[str],
    fit: Mapping[str, float],
    seed: int,
) -> list[Figure]:
    """R², Pearson and Spearman correlation of reconstructed with true expression.

    Over all genes of the cells' sentences taken together; genes outside of the sentences are
    left out. Beside it, "gene_mean": each gene's mean over the other cells that express it,
    which knows nothing of the cell's own ranks.

    Parameters
    ----------
    matrix
        CSR (n_cells, n_genes): log-normalised expression.
    sentences
        For each cell the columns of its genes, highest first.
    samples
        Sample of each cell. There are figures of each, and, with subject "", of all.
    fit
        slope and intercept of the run's rank fit.

    Returns
    -------
    r_squared is 1 - residual / total sum of squares: below 0 if a constant does better.
    """
    lengths = np.array([len(genes) for genes in sentences])
    cells = np.repeat(np.arange(len(sentences)), lengths)
    genes = np.concatenate([np.empty(0, np.int64), *sentences])
    ranks = np.concatenate([np.empty(0), *(np.arange(1, n + 1) for n in lengths)])
    true = np.asarray(matrix[cells, genes], dtype=np.float64).ravel()
    guesses = {
        "model": np.maximum(fit["intercept"] + fit["slope"] * np.log10(ranks), 0),
        "gene_mean": _means_of_others(true, genes, matrix.shape[1]),
    }
    return [
        figure
        for subject, inside in groups_of(samples).items()
        for predictor, guess in guesses.items()
        for figure in _agreement(true, guess, cells, inside, predictor, subject, seed)
    ]


def groups_of(samples: Sequence[str]) -> dict[str, np.ndarray]:
    """Cells of all samples (subject ""), and of each if there are several: bool (n_cells,)."""
    samples = np.asarray(samples, dtype=object)
    names = sorted(set(samples))
    return {"": samples == samples, **({n: samples == n for n in names} if names[1:] else {})}


def _means_of_others(true: np.ndarray, genes: np.ndarray, n_genes: int) -> np.ndarray:
    """Mean of each gene over the other cells; of a gene that no other cell has, of all genes."""
    sums, counts = (np.bincount(genes, w, minlength=n_genes)[genes] for w in (true, None))
    mean = true.mean() if true.size else np.nan
    return np.divide(sums - true, counts - 1, out=np.full(true.size, mean), where=counts > 1)


def _agreement(
    true: np.ndarray, guess: np.ndarray, cells: np.ndarray, inside: np.ndarray, predictor: str,
    subject: str, seed: int,
) -> list[Figure]:  # fmt: skip
    """Figures of the cells `inside`, from sums by cell: so resampling cells is weighing sums."""
    chosen = inside[cells]
    if np.unique(true[chosen]).size < 2:
        return []
    y, x, own = true[chosen], guess[chosen], np.cumsum(inside)[cells[chosen]] - 1
    n = int(inside.sum())
    shares = weights(n, seed)

    def sums(values: np.ndarray) -> np.ndarray:
        return shares @ np.bincount(own, values, minlength=n)

    count = sums(np.ones(y.size))

    def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # Centred first: sums of squares of large numbers would cancel.
        a, b = a - a.mean(), b - b.mean()
        mean_a, mean_b = sums(a) / count, sums(b) / count
        covariance = sums(a * b) / count - mean_a * mean_b
        spread = (sums(a * a) / count - mean_a**2) * (sums(b * b) / count - mean_b**2)
        return np.divide(
            covariance, np.sqrt(spread), out=np.full(len(count), np.nan), where=spread > 0
        )

    centred = y - y.mean()
    total = sums(centred**2) - sums(centred) ** 2 / count
    found = {
        "r_squared": (1 - sums((y - x) ** 2) / total, (-np.inf, 1)),
        "pearson": (correlation(y, x), (-1, 1)),
        # Of the ranks among all pairs, which resampling leaves as they are.
        "spearman": (correlation(rankdata(y), rankdata(x)), (-1, 1)),
    }
    figures = []
    for metric, (values, bounds) in found.items():
        low, high = bootstrap_interval(values, n, bounds)
        figures.append(
            Figure(metric, subject, predictor, float(values[0]), n, ci_low=low, ci_high=high)
        )
    return figures
