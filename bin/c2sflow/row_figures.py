"""Figures of many splits, resamples and permutations to one value, its interval and its null."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from c2sflow.halves import N_EACH, N_SPLITS, Halves, Rows
from c2sflow.resampling import Figure, bootstrap_interval

Key = tuple[str, str, str]  # metric, space, predictor
# Values of each row; of the splits with these numbers, or, where the labels are permuted, of none.
OfRows = Callable[[Rows, np.ndarray | None], Mapping[Key, np.ndarray]]
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

    def figure(self, key: Key, subject: str, n: int, **more: object) -> Figure:
        """The figure with its 95 % interval, and the mean and 95 % range of its null."""
        metric, space, predictor = key
        bounds = BOUNDS.get(metric.split("_")[0], (-np.inf, np.inf))
        replicates = np.concatenate([[self.value], *self.resampled])
        low, high = bootstrap_interval(replicates, min(n, more.get("n_reference", n)), bounds)
        null = np.concatenate([np.empty(0), *self.permuted])
        null = null[np.isfinite(null)]
        if null.size:
            more["null"] = float(null.mean())
            more["null_low"], more["null_high"] = map(float, np.quantile(null, [0.025, 0.975]))
        return Figure(metric, subject, predictor, self.value, n, space, low, high, **more)


def summarise(halves: Halves, of_rows: OfRows) -> dict[Key, Summary]:
    """Every figure over the splits of the cells, over resamples and over permutations."""
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
