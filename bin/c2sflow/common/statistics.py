"""Means, their differences and how sure they are, over independent units such as donors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import false_discovery_control
from scipy.stats import t as student

Moments = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean, its variance, number of units
MIN_UNITS = 3  # on each side: of fewer, no interval and no p-value
LEVEL = 0.95


@dataclass(frozen=True)
class Estimates:
    """Means, or differences of means; float64 (n,) each, NaN where there are too few units.

    Attributes
    ----------
    value
        The estimate; not NaN as long as there is one unit on each side.
    error
        Its standard error.
    freedom
        Degrees of freedom.
    """

    value: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    def p_values(self) -> np.ndarray:
        """Two-sided p-values of a value of 0.

        Where the units do not differ at all, 1 for a value of 0, and else that of the sign test
        with all signs alike, 2^(1 - n) for n units: no variance is no certainty.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * student.sf(np.abs(self.value) / self.error, self.freedom)
        still = self.error <= 1e-12 * np.abs(self.value)
        fewest = np.where(self.value == 0, 1.0, 2.0**-self.freedom)
        return np.where(np.isnan(self.error), np.nan, np.where(still, fewest, p))

    def interval(self, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the intervals at this level."""
        half = student.isf((1 - level) / 2, self.freedom) * self.error
        return self.value - half, self.value + half


def mean_of(values: np.ndarray) -> Estimates:
    """Means over the last axis, which is units; NaN are no units.

    Parameters
    ----------
    values
        float (n, n_units).
    """
    return mean_of_moments(_moments(values))


def mean_of_moments(moments: Moments) -> Estimates:
    """`mean_of` where mean, variance of the mean and number of units are known."""
    value, variance, n = moments
    enough = n >= MIN_UNITS
    return Estimates(
        value, np.where(enough, np.sqrt(variance), np.nan), np.where(enough, n - 1.0, np.nan)
    )


def difference_of(one: np.ndarray, other: np.ndarray) -> Estimates:
    """Differences of the means of two groups of units, by Welch's t.

    Parameters
    ----------
    one, other
        float (n, n_units of either); NaN are no units.
    """
    return difference_of_moments(_moments(one), _moments(other))


def difference_of_moments(one: Moments, other: Moments) -> Estimates:
    """`difference_of` where mean, variance of the mean and number of units are known."""
    (mean, variance, n), (mean_other, variance_other, n_other) = one, other
    enough = np.minimum(n, n_other) >= MIN_UNITS
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = variance**2 / (n - 1) + variance_other**2 / (n_other - 1)
        freedom = (variance + variance_other) ** 2 / spread
    freedom = np.where(spread > 0, freedom, n + n_other - 2.0)
    error = np.sqrt(variance + variance_other)
    return Estimates(
        mean - mean_other, np.where(enough, error, np.nan), np.where(enough, freedom, np.nan)
    )


def moments_of_sums(total: np.ndarray, squares: np.ndarray, n: np.ndarray) -> Moments:
    """From sums of the values and of their squares, float64 of any shape, over so many units."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / n
        variance = np.maximum(squares - n * mean**2, 0) / (n - 1) / n
    return mean, variance, n


def _moments(values: np.ndarray) -> Moments:
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    n = known.sum(axis=-1)
    filled = np.where(known, values, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = filled.sum(axis=-1) / n
        off = np.where(known, values - mean[..., None], 0)
        variance = (off**2).sum(axis=-1) / (n - 1) / n
    return mean, variance, n


def adjusted(p_values: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's false discovery rate of the p-values; NaN stay NaN, uncounted."""
    found = np.full(p_values.shape, np.nan)
    known = np.isfinite(p_values)
    if known.any():
        found[known] = false_discovery_control(p_values[known])
    return found


def selected_level(adjusted_p: np.ndarray, level: float = LEVEL) -> float:
    """Level at which the intervals of a whole family are to be read together.

    Of m estimates, the R whose adjusted p is at most 5 % are what a reader picks out. Their
    intervals at 1 - 0.05 R / m miss 5 % of the truths on average (Benjamini & Yekutieli, 2005,
    false coverage rate), and exclude 0 exactly where the adjusted p is at most 5 %. If none is,
    R counts as 1.
    """
    known = adjusted_p[np.isfinite(adjusted_p)]
    if not known.size:
        return level
    return 1 - (1 - level) * max(1, int((known <= 1 - level).sum())) / known.size


def shrunken(value: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Estimates of one kind drawn towards 0 by as much as chance spreads them.

    The largest of many estimates is too large on average (the winner's curse). Empirical Bayes
    with a normal prior around 0, whose variance is what the errors leave of the mean square
    (Efron & Morris, 1973): value x tau^2 / (tau^2 + error^2). NaN where there is no error.
    """
    known = np.isfinite(error)
    if not known.any():
        return np.full(value.shape, np.nan)
    spread = max(0.0, float(np.mean(value[known] ** 2 - error[known] ** 2)))
    total = spread + error**2
    return value * np.divide(spread, total, out=np.zeros_like(total), where=total > 0)


def replicate_means(values: np.ndarray | sparse.spmatrix, labels: pd.Series) -> pd.DataFrame:
    """Mean of each replicate's cells: its pseudobulk.

    Parameters
    ----------
    values
        (n_cells, n_columns).
    labels
        Replicate of each cell; cells without one are left out.

    Returns
    -------
    float64, a row for each replicate, by name.
    """
    known = labels.notna().to_numpy()
    codes, names = pd.factorize(labels[known].astype(str), sort=True)
    counts = np.bincount(codes, minlength=len(names))
    member = sparse.csr_matrix(
        (1 / counts[codes], (codes, np.flatnonzero(known))), (len(names), len(labels))
    )
    means = member @ values
    means = means.toarray() if sparse.issparse(means) else np.asarray(means)
    return pd.DataFrame(means.astype(np.float64), index=names)
