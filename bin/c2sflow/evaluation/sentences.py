"""What a cell sentence keeps of expression, and how far answers can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata

from c2sflow.evaluation.figures import (
    Figure,
    Labels,
    bootstrap_interval,
    cell_weights,
    draw_others,
    share_interval,
    weights,
)
from c2sflow.sentences.compare import Genes, gene_overlap
from c2sflow.sentences.rank_fit import expression_from_ranks


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
        As of `c2sflow.evaluation.sentences.reconstruction_figures`.
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
    own = np.asarray(samples, dtype=object)
    names = sorted(set(own))
    return {"": own == own, **({n: own == n for n in names} if names[1:] else {})}


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


COUNTS = {"invalid": "c2s_invalid_genes", "repeated": "c2s_duplicate_genes"}


def answer_figures(answers: pd.DataFrame, subject: str, seed: int) -> list[Figure]:
    """Shares of the words that are no gene or repeat one, and of the answers that were cut.

    Parameters
    ----------
    answers
        c2s_n_predicted_genes, c2s_invalid_genes, c2s_duplicate_genes and c2s_finish_reason.
    subject
        The condition they are of.

    Returns
    -------
    invalid_fraction and repeated_fraction (of all words), cut_fraction (of the answers). Where
    no word, or each, is such a one, the interval is that of the share of answers with one, in
    which the words of an answer count as one: a share of words is no larger.
    """
    n = len(answers)
    words = answers[["c2s_n_predicted_genes", *COUNTS.values()]].to_numpy(dtype=float)
    shares = weights(n, seed)
    n_words = shares @ words.sum(axis=1)
    figures = []
    for place, name in enumerate(COUNTS, 1):
        values = np.divide(
            shares @ words[:, place], n_words, out=np.zeros_like(n_words), where=n_words > 0
        )
        low, high = bootstrap_interval(values, n, (0, 1))
        if values[0] in (0, 1):  # every resample has the same share, and shows nothing
            low, high = share_interval(int(values[0]) * n, n)
        figures.append(
            Figure(f"{name}_fraction", subject, "model", values[0], n, ci_low=low, ci_high=high)
        )
    cut = int((answers["c2s_finish_reason"] == "length").sum())
    low, high = share_interval(cut, n)
    figures.append(Figure("cut_fraction", subject, "model", cut / n, n, ci_low=low, ci_high=high))
    return figures


def novelty_figures(
    answers: Sequence[Genes], controls: Sequence[Genes], sources: Labels,
    subject: str, seed: int,
) -> list[Figure]:  # fmt: skip
    """Share of an answer's genes that its own control cell does not hold as high.

    1 - overlap of the answer with the control sentence cut to its length: 0 means that the model
    copied the cell. Beside it the same of another control cell instead of the answer, cut to the
    same length: how much two cells differ to which nothing was done.

    Parameters
    ----------
    answers, controls
        Genes of each answer and of its control cell, highest first.
    sources
        Which control cell that is: several answers may be to one.
    """
    others = draw_others(sources, seed)
    rows = [n for n, genes in enumerate(answers) if len(genes) and len(controls[n])]
    paired = [n for n in rows if others[n] >= 0 and len(controls[others[n]])]
    rows = paired or rows  # a single cell has no other
    placed = {"model": [answers[n] for n in rows]}
    if paired:
        placed["another_control"] = [controls[others[n]] for n in rows]
    own, cells = [controls[n] for n in rows], np.asarray(sources)[rows]
    depths = [min(map(len, genes)) for genes in zip(own, *placed.values(), strict=True)]
    figures = []
    for predictor, sentences in placed.items() if rows else ():
        values = [1 - gene_overlap(a, b, k) for a, b, k in zip(sentences, own, depths, strict=True)]
        pairs = np.asarray(sources)[others[rows]] if predictor == "another_control" else None
        found = cell_weights(cells, seed, pairs) @ np.array(values)
        low, high = bootstrap_interval(found, len(set(cells)), (0, 1))
        figures.append(
            Figure("novelty", subject, predictor, found[0], len(rows), ci_low=low, ci_high=high,
                   depth=float(np.mean(depths)))
        )  # fmt: skip
    return figures
