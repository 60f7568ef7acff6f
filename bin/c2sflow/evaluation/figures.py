"""Figures with their intervals: resamples, splits, permutations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from c2sflow.common.statistics import LEVEL, mean_of
from c2sflow.evaluation.halves import N_EACH, N_SPLITS

N_RESAMPLES = 200
MIN_BOOTSTRAP = 6

Labels = Sequence[object] | np.ndarray  # which cell each answer is to, say: numbers or names


@dataclass(frozen=True)
class Figure:
    """One number of an evaluation.

    Attributes
    ----------
    metric
        Its name, see docs/output.md.
    subject
        What it is of: a perturbation, a cell type, a sample; "" for all together.
    predictor
        What made the prediction: the model, or a baseline.
    value
        NaN where it is not defined.
    n
        Cells (or answers, or conditions) it is a figure of.
    space
        Where cells are compared, such as X_c2s.
    ci_low, ci_high
        95 % interval; NaN where there is none.
    n_reference
        Measured cells that it is compared with.
    null, null_low, null_high
        The same figure where nothing happened: mean and 95 % range over permuted labels.
    depth
        Genes of each sentence that are compared; a mean over pairs of sentences.
    chance
        What sentences of random genes reach at that depth.
    """

    metric: str
    subject: str
    predictor: str
    value: float
    n: int
    space: str = ""
    ci_low: float = np.nan
    ci_high: float = np.nan
    n_reference: int | None = None
    null: float = np.nan
    null_low: float = np.nan
    null_high: float = np.nan
    depth: float = np.nan
    chance: float = np.nan


COLUMNS = (
    "metric", "subject", "space", "predictor", "value", "ci_low", "ci_high", "n", "n_reference",
    "null", "null_low", "null_high", "depth", "chance",
)  # fmt: skip


def figures_table(figures: Iterable[Figure]) -> pd.DataFrame:
    """A row for each figure, in the columns of `COLUMNS`."""
    table = pd.DataFrame([asdict(figure) for figure in figures], columns=COLUMNS)
    return table.astype({"n": "int64", "n_reference": "Int64"})


def weights(n: int, seed: int, *more: int, n_resamples: int = N_RESAMPLES) -> np.ndarray:
    """Shares of n cells in bootstrap resamples.

    Parameters
    ----------
    n
        Cells.
    seed, more
        Decide the resamples: groups of cells that are drawn apart need other numbers.

    Returns
    -------
    float64 (1 + n_resamples, n), rows sum to 1. The first row is the cells as they are, so that
    the first of the statistics of all rows is the value, and the others its replicates.
    """
    drawn = np.random.default_rng([seed, *more]).multinomial(n, np.full(n, 1 / n), n_resamples)
    return np.vstack([np.ones(n), drawn]) / n


def bootstrap_interval(
    values: np.ndarray, n: int, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float]:
    """95 % interval of a value from its bootstrap replicates.

    The percentiles of the replicates, wider by what resamples of few cells are too much alike
    (`few_cells`), and moved so that their mean is the value. Statistics of a
    distance are larger in resamples, where cells repeat, than in the sample; unmoved, the
    interval would be above the value. It always holds the value, also where a few replicates
    draw the mean out of it. There is none for a value that no resample leaves, such as a share of
    0: resamples of what did not occur cannot show how rare it is.

    Parameters
    ----------
    values
        The value, and after it its replicates.
    n
        Cells that were drawn anew, on the side with fewer: of less than `MIN_BOOTSTRAP` there is
        no interval, for so few values do not show how they are spread.
    bounds
        What the statistic can be at least and at most.
    """
    value, replicates = values[0], values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value) or replicates.size < 2 or n < MIN_BOOTSTRAP:
        return np.nan, np.nan
    if np.ptp(replicates) < 1e-12:
        return np.nan, np.nan
    tail = (1 - LEVEL) / 2
    off = np.quantile(replicates - replicates.mean(), [tail, 1 - tail])
    low, high = value + few_cells(n) * off
    return float(max(min(low, value), bounds[0])), float(min(max(high, value), bounds[1]))


def few_cells(n: int) -> float:
    """How much wider than a bootstrap of n cells an interval must be.

    Resamples vary by (n - 1) / n of the variance, and their percentiles take that for known:
    Student's t over the normal quantile, as in the expanded percentile interval (Hesterberg, Am
    Stat 2015). 1.12 for 16 cells, 1.02 for 100.
    """
    tail = (1 - LEVEL) / 2
    return float(np.sqrt(n / (n - 1)) * student.isf(tail, n - 1) / norm.isf(tail))


def mean_interval(
    values: np.ndarray, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float]:
    """95 % interval of the mean of a few independent values, by Student's t; none of fewer than 3.

    A bootstrap over 3 or 5 values covers 7 or 8 of 10 truths: it has nothing but them to draw.
    There is none of values that are all the same: they do not show how others differ.

    Parameters
    ----------
    values
        For example one of each condition.
    bounds
        What a value can be at least and at most.
    """
    if values.size and np.ptp(values) < 1e-12:
        return np.nan, np.nan
    low, high = (ends[0] for ends in mean_of(values[None]).interval(LEVEL))
    return float(np.maximum(low, bounds[0])), float(np.minimum(high, bounds[1]))


def cell_weights(
    sources: Labels, seed: int, others: Labels | None = None, n_resamples: int = N_RESAMPLES
) -> np.ndarray:
    """`weights` of answers where several may be to one cell: a cell is drawn with all of its.

    Parameters
    ----------
    sources
        The cell that each answer is to.
    others
        The cell that replaces each answer, if one does: a pair of cells counts as
        often as both of them are drawn, for one cell is in several pairs.

    Returns
    -------
    float64 (1 + n_resamples, n_answers), rows sum to 1 (NaN where no pair is drawn).
    """
    named = np.concatenate([sources, sources if others is None else others])
    cells, place = np.unique(named, return_inverse=True)
    drawn = weights(cells.size, seed, n_resamples=n_resamples) * cells.size
    own, other = np.split(place, 2)
    times = drawn[:, own] * (1 if others is None else drawn[:, other])
    total = times.sum(axis=1, keepdims=True)
    return times / np.where(total > 0, total, np.nan)


def draw_others(sources: Labels, seed: int) -> np.ndarray:
    """For each answer one to another cell, at random: int (n,); -1 if there is no other cell.

    Several answers may be to one cell, which must not replace itself.

    Parameters
    ----------
    sources
        The cell that each answer is to.
    """
    _, cells = np.unique(np.asarray(sources), return_inverse=True)
    order = np.argsort(cells, kind="stable")
    sizes = np.bincount(cells)
    n, first, own = cells.size, (np.cumsum(sizes) - sizes)[cells], sizes[cells]
    drawn = np.floor(np.random.default_rng(seed).random(n) * (n - own)).astype(int)
    place = np.where(drawn < first, drawn, drawn + own)
    return np.where(own < n, order[np.minimum(place, n - 1)], -1)


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of independent cells (scipy)."""
    if not n:
        return np.nan, np.nan
    found = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


Key = tuple[str, str, str]  # metric, space, predictor
RowsT_co = TypeVar("RowsT_co", covariant=True)  # how often each cell counts, a row for each split


class Splits(Protocol[RowsT_co]):
    """Cells that a figure is of, as they are, resampled and permuted."""

    def observed(self) -> RowsT_co:
        """`N_SPLITS` splits of the cells as they are."""

    def resampled(self) -> Iterator[tuple[np.ndarray | None, RowsT_co]]:
        """Bootstrap resamples, each in `N_EACH` splits, and the numbers of these."""

    def permuted(self) -> Iterator[RowsT_co]:
        """The cells with permuted labels."""


BOUNDS = {
    "pearson": (-1, 1), "kendall": (-1, 1), "direction": (0, 1), "gene": (0, 1),
    "mse": (0, np.inf), "scfid": (0, np.inf),
}  # fmt: skip


@dataclass
class Summary:
    """Values of one figure.

    Attributes
    ----------
    value
        Mean over the splits.
    resampled, permuted
        The same of each resample, and of each permutation.
    """

    value: float
    resampled: list[np.ndarray] = field(default_factory=list)
    permuted: list[np.ndarray] = field(default_factory=list)

    def figure(
        self, key: Key, subject: str, n: int, *,
        n_reference: int, depth: float = np.nan, chance: float = np.nan,
    ) -> Figure:  # fmt: skip
        """The figure with its 95 % interval, and the mean and 95 % range of its null."""
        metric, space, predictor = key
        bounds = BOUNDS.get(metric.split("_")[0], (-np.inf, np.inf))
        replicates = np.concatenate([[self.value], *self.resampled])
        low, high = bootstrap_interval(replicates, min(n, n_reference), bounds)
        null = np.concatenate([np.empty(0), *self.permuted])
        null = null[np.isfinite(null)]
        middle = null_low = null_high = np.nan
        if null.size:
            middle = float(null.mean())
            null_low, null_high = map(float, np.quantile(null, [0.025, 0.975]))
        return Figure(
            metric, subject, predictor, self.value, n, space, low, high, n_reference,
            middle, null_low, null_high, depth, chance,
        )  # fmt: skip


def summarise(
    halves: Splits[RowsT_co],
    of_rows: Callable[[RowsT_co, np.ndarray | None], Mapping[Key, np.ndarray]],
) -> dict[Key, Summary]:
    """Every figure over the splits of the cells, over resamples and over permutations.

    Parameters
    ----------
    of_rows
        Values of each row; of the splits with these numbers, or, where the labels are permuted, of
        none.
    """
    observed = of_rows(halves.observed(), np.arange(N_SPLITS))
    found = {key: Summary(float(_mean(values[None])[0])) for key, values in observed.items()}
    for splits, rows in halves.resampled():
        for key, values in of_rows(rows, splits).items():
            found[key].resampled.append(_mean(values.reshape(-1, N_EACH)))
    for rows in halves.permuted():
        for key, values in of_rows(rows, None).items():
            found[key].permuted.append(_mean(values.reshape(-1, N_EACH)))
    return found


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of each row over the splits in which a figure is defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a row of NaN
        return np.nanmean(values, axis=1)
