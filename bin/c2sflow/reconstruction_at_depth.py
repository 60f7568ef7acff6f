"""What ranks leave of expression where a sentence ends early, as an answer does.

The rank fit is of whole sentences. An answer of 100 genes gives the genes that it names a value,
and all others 0. So the cells' own sentences, in their true order, are cut to the usual length of
the answers, and judged among the genes that are left, and among all genes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from c2sflow.reconstruction import expression_from_ranks
from c2sflow.reconstruction_quality import groups_of, reconstruction_figures
from c2sflow.resampling import Figure, bootstrap_interval, weights


def figures_at_depth(
    matrix: sparse.csr_matrix,
    sentences: Sequence[np.ndarray],
    samples: Sequence[str],
    fit: Mapping[str, float],
    lengths: np.ndarray,
    seed: int,
) -> list[Figure]:
    """Figures of the cells' own sentences, cut to the answers' median length (`depth`).

    ``<metric>_named``: over the genes that are left. ``<metric>_all_genes``: over all genes, of
    which those beyond the depth are 0. ``median_total``: what the values of a cell sum to before
    the logarithm, median over the measured cells and over the answers.

    Parameters
    ----------
    matrix
        CSR (n_cells, n_genes): log-normalised expression.
    sentences, samples, fit
        As of `c2sflow.reconstruction_quality.reconstruction_figures`.
    lengths
        int (n_answers,): genes of each answer, at least one answer.

    Returns
    -------
    Empty if half of the answers or more hold no gene, or there is no fit.
    """
    depth = int(np.median(lengths))
    if depth < 1 or not np.isfinite(fit["slope"]):
        return []
    cut = [genes[:depth] for genes in sentences]
    named = reconstruction_figures(matrix, cut, samples, fit, seed)
    figures = [replace(one, metric=f"{one.metric}_named", depth=depth) for one in named]
    guess = expression_from_ranks(cut, matrix.shape[1], fit["slope"], fit["intercept"])
    sums = {"model": _sums(matrix, guess), "gene_mean": _sums_of_means(matrix)}
    for subject, inside in groups_of(samples).items():
        for predictor, own in sums.items():
            found = _agreement_at_depth(own[:, inside], matrix.shape[1], predictor, subject, seed)
            figures += [replace(one, depth=depth) for one in found]
    return figures + list(_totals(matrix, fit, lengths))


def _sums(true: sparse.csr_matrix, guess: sparse.csr_matrix) -> np.ndarray:
    """Of each cell Σy, Σx, Σy², Σx², Σxy over all genes: float64 (5, n_cells)."""
    y, x = true.astype(np.float64), guess.astype(np.float64)
    products = (y, x, y.multiply(y), x.multiply(x), y.multiply(x))
    return np.stack([np.asarray(values.sum(axis=1)).ravel() for values in products])


def _sums_of_means(true: sparse.csr_matrix) -> np.ndarray:
    """The same where each gene's guess is its mean over the other cells, zeros included."""
    y = true.astype(np.float64)
    n_others = max(1, y.shape[0] - 1)
    over_cells = np.asarray(y.sum(axis=0)).ravel()
    own, squares = np.asarray(y.sum(axis=1)).ravel(), np.asarray(y.multiply(y).sum(axis=1)).ravel()
    with_others = y @ over_cells  # Σ of value × sum over all cells
    return np.stack(
        [
            own,
            (over_cells.sum() - own) / n_others,
            squares,
            ((over_cells**2).sum() - 2 * with_others + squares) / n_others**2,
            (with_others - squares) / n_others,
        ]
    )


def _agreement_at_depth(
    sums: np.ndarray, n_genes: int, predictor: str, subject: str, seed: int
) -> Iterable[Figure]:
    """R² and Pearson correlation over all genes of some cells, from the cells' sums."""
    n = sums.shape[1]
    y, x, yy, xx, xy = (sums @ weights(n, seed).T) / n_genes  # means: the shares sum to 1
    spread_y, spread_x = yy - y**2, xx - x**2
    if not spread_y[0] > 0:
        return
    empty = np.full(len(y), np.nan)
    both, error = spread_y * spread_x, yy - 2 * xy + xx
    root = np.sqrt(np.maximum(both, 0))
    found = {
        "r_squared": 1 - np.divide(error, spread_y, out=empty.copy(), where=spread_y > 0),
        "pearson": np.divide(xy - x * y, root, out=empty.copy(), where=root > 0),
    }
    for metric, values in found.items():
        bounds = (-np.inf if metric == "r_squared" else -1, 1)
        low, high = bootstrap_interval(values, n, bounds)
        yield Figure(
            f"{metric}_all_genes", subject, predictor, float(values[0]), n, ci_low=low, ci_high=high
        )


def _totals(
    matrix: sparse.csr_matrix, fit: Mapping[str, float], lengths: np.ndarray
) -> Iterable[Figure]:
    """Median sum of a cell's values before the logarithm, of measured cells and of answers."""
    linear = matrix.astype(np.float64)
    linear.data = 10**linear.data - 1
    measured = np.asarray(linear.sum(axis=1)).ravel()
    ranks = np.arange(1, int(lengths.max()) + 1)
    by_rank = 10 ** np.maximum(fit["intercept"] + fit["slope"] * np.log10(ranks), 0) - 1
    answers = np.concatenate([[0], np.cumsum(by_rank)])[lengths]
    for predictor, values in {"measured": measured, "model": answers}.items():
        yield Figure(
            "median_total", "", predictor, float(np.median(values)), len(values),
            n_reference=len(measured), depth=float(np.median(lengths)),
        )  # fmt: skip
