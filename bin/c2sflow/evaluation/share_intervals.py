"""95 % intervals of shares of cells, of their means over labels, and of gains in the same cells.

Of labels of few cells a bootstrap is too narrow: of a label that is found in 3 of 3 cells, every
resample finds it, too. So each label has limits of its own that hold for few cells, which are then
combined by their distances from the value (MOVER; Zou & Donner, Stat Med 2008).

Shares of classifiers in cross-validation are bool (n_repeats, n): the figure is the mean over the
repeats. Their limits are those of as many cells as would be as uncertain as these cells, what the
classifiers learned from (`learning`) and the choice of the folds together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta, norm

from c2sflow.common.statistics import LEVEL

Interval = tuple[float, float]


def equal_cells(share: float, n: float, repeats: np.ndarray) -> float:
    """Cells that one classifier would have to judge for a share to be as uncertain.

    Parameters
    ----------
    share
        The mean over the repeats.
    n
        Cells, by what the classifiers learned from.
    repeats
        float (n_repeats,): the share in each; their variance is added to that of the cells.
    """
    cells = share * (1 - share) / n
    folds = repeats.var(ddof=1) if len(repeats) > 1 else 0.0
    return n * cells / (cells + folds) if cells else n


def repeated_share_interval(right: np.ndarray, learning: float = 1.0) -> Interval:
    """Wilson's interval of the share that was right, bool (n_repeats, n).

    `c2sflow.evaluation.figures.share_interval` is the same for one repeat; scipy's, behind it,
    takes whole numbers only.
    """
    share = right.mean()
    n = equal_cells(share, right.shape[1] / learning, right.mean(axis=1))
    z = norm.ppf((1 + LEVEL) / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float(max(middle - half, 0)), float(min(middle + half, 1))


def exact_limits(share: float, n: float) -> Interval:
    """Clopper & Pearson's limits of a share of n cells; n may be a fraction.

    Wilson's are nearer to 95 % for one share. Of many labels, all found in nearly all of their
    cells, the mean by Wilson's covers 89 to 90 %, by these 95 % or a little more.
    """
    hits, tail = share * n, (1 - LEVEL) / 2
    low = beta.ppf(tail, hits, n - hits + 1) if share > 0 else 0.0
    high = beta.ppf(1 - tail, hits + 1, n - hits) if share < 1 else 1.0
    return float(low), float(high)


def recall_limits(right: np.ndarray, learning: float) -> Interval:
    """`exact_limits` of the share that was right, bool (n_repeats, n)."""
    share = right.mean()
    n = equal_cells(share, right.shape[1] / learning, right.mean(axis=1))
    return exact_limits(float(share), n)


def f1_limits(hits: np.ndarray, counted: np.ndarray, learning: float) -> tuple[float, Interval]:
    """F1 of one label and its limits: those of the share of hits, by which F1 is 2 s / (1 + s).

    Parameters
    ----------
    hits, counted
        float (n_repeats,): cells of the label for which it was found; cells of it or found as it.
    """
    share = hits.sum() / counted.sum()
    n = equal_cells(share, counted.mean() / learning, hits / counted)
    low, high = exact_limits(share, n)
    low, value, high = (float(2 * s / (1 + s)) for s in (low, share, high))
    return value, (low, high)


def gain_limits(better: np.ndarray, worse: np.ndarray, learning: float) -> Interval:
    """Limits of a difference of two shares in the same cells (Bonett & Price, 2012).

    A cell is added to those that only the one got right, and one to those that only the other did:
    no cell that differs is no certainty that none would.

    Parameters
    ----------
    better, worse
        bool (n_repeats, n): cells that only the one got right, that only the other did.
    """
    n = better.shape[1] / learning
    more, fewer = ((one.mean() * n + 1) / (n + 2) for one in (better, worse))
    repeats = better.mean(axis=1) - worse.mean(axis=1)
    folds = repeats.var(ddof=1) if len(repeats) > 1 else 0.0
    error = np.sqrt((more + fewer - (more - fewer) ** 2) / (n + 2) + folds)
    half = norm.ppf((1 + LEVEL) / 2) * error
    return float(more - fewer - half), float(more - fewer + half)


def mean_of_limits(
    values: Sequence[float], limits: Sequence[Interval], correlation: np.ndarray | None = None
) -> Interval:
    """Interval of the mean of estimates, from the limits of each (MOVER).

    Parameters
    ----------
    values, limits
        Of each label.
    correlation
        float (n_labels, n_labels), of the estimates; None: they share no cell.
    """
    found, (low, high) = np.asarray(values), np.transpose(limits)
    correlation = np.eye(found.size) if correlation is None else correlation
    ends = []
    for off in (np.maximum(found - low, 0), np.maximum(high - found, 0)):
        ends.append(np.sqrt(max(off @ correlation @ off, 0.0)) / found.size)
    return float(found.mean() - ends[0]), float(found.mean() + ends[1])


def macro_f1_interval(counts: np.ndarray, sizes: np.ndarray, learning: float) -> Interval:
    """Interval of the mean F1 over labels.

    Parameters
    ----------
    counts
        int (n_repeats, n_labels, n_labels): cells of each label (rows) by the label found.
    sizes
        int (n_labels,): cells of each, those found as none of the labels among them.
    """
    hits, named = np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=1)
    counted = sizes + named - hits
    values, limits = zip(
        *(f1_limits(hits[:, k], counted[:, k], learning) for k in range(len(sizes))), strict=True
    )
    low, high = mean_of_limits(values, limits, _f1_correlation(counts.mean(axis=0), sizes))
    # With repeats, the F1 of all counts are not quite the mean F1.
    moved = float(np.mean(2 * hits / (sizes + named)) - np.mean(values))
    return max(low + moved, 0.0), min(high + moved, 1.0)


def _f1_correlation(counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Correlation of the F1 of labels: a wrong cell lowers two, that of its label and another.

    By the influence of each cell on each F1 (delta method; Takahashi et al., 2022).
    """
    hits, total = np.diag(counts), sizes + counts.sum(axis=0)
    f1 = 2 * hits / total
    size = np.sqrt(4 * (1 - f1) ** 2 * hits + f1**2 * (total - 2 * hits))
    products, sizes = np.outer(f1, f1) * (counts + counts.T), np.outer(size, size)
    found = np.divide(products, sizes, out=np.zeros_like(products), where=sizes > 0)
    np.fill_diagonal(found, 1)
    return found
