"""Whether a label's probability is how often it is right, and what leaving unsure cells out gains.

Of a calibrated predictor, 0.8 of the labels with probability 0.8 are right. The expected
calibration error (ECE) is the mean distance from that over bins of cells with like probabilities
(Naeini et al., AAAI 2015; Guo et al., ICML 2017), here of equally many cells (Nguyen & O'Connor,
EMNLP 2015). Of few cells it is above 0 for the best predictor, too: its null is what labels drawn
by the probabilities themselves give (consistency resampling; Broecker & Smith, Weather Forecast
2007). What few cells add can be taken off a mean square (Kumar et al., NeurIPS 2019): its root is 0
of a calibrated predictor, and of many cells never below the ECE. One temperature for all scores
mends over-confidence without changing a label (Guo et al.); it is fitted by the least log loss, as
scikit-learn's ``CalibratedClassifierCV(method="temperature")`` does, which however needs five cells
of every label. Where a model is too sure of some labels and not sure enough of others, no single
temperature helps; isotonic regression of being right on the probability does (Zadrozny & Elkan, KDD
2002), given many cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import KFold

from c2sflow.evaluation.figures import (
    N_RESAMPLES,
    Figure,
    bootstrap_interval,
    share_interval,
    weights,
)

N_BINS = 15
CELLS_PER_BIN = 10
MIN_CELLS = 50  # of fewer the error of a calibrated predictor is as large as any
N_FOLDS = 5
LEAST = -300.0  # log-probability: what underflows is finite
BOUNDS = (-5.0, 5.0)  # of the logarithm of the temperature
N_STEPS = 50  # points of the curve of risk
ANNOTATION = "annotation"  # what predicts, in the tables


@dataclass(frozen=True)
class Judged:
    """Predicted labels of cells whose truth is known.

    Attributes
    ----------
    scores
        float64 (n_cells, n_candidates): log-probability of each candidate.
    truth
        int (n_cells,): number of the true candidate, -1 of a truth that is none of them.
    """

    scores: np.ndarray
    truth: np.ndarray

    @classmethod
    def of(cls, candidates: Sequence[str], scores: np.ndarray, truth: Sequence[object]) -> Judged:
        """From names; cells without scores are left out."""
        places = {name: place for place, name in enumerate(candidates)}
        numbers = np.array([places.get(str(name), -1) for name in truth], dtype=int)
        known = ~np.isnan(scores).any(axis=1)
        return cls(np.maximum(scores[known], LEAST), numbers[known])

    def at(self, temperature: float | np.ndarray) -> np.ndarray:
        """Log-probabilities with the scores divided by a temperature, or one for each cell."""
        divided = self.scores / np.reshape(temperature, (-1, 1))
        return log_softmax(divided, axis=1)

    @property
    def right(self) -> np.ndarray:
        """Whether the likeliest candidate is the true one; bool (n_cells,)."""
        return self.scores.argmax(axis=1) == self.truth

    def confidence(self, temperature: float | np.ndarray = 1.0) -> np.ndarray:
        """Probability of the likeliest candidate; float64 (n_cells,)."""
        return np.exp(self.at(temperature).max(axis=1))

    def log_loss(self, temperature: float | np.ndarray = 1.0) -> float:
        """Mean negative log-probability of the truth, where it is a candidate."""
        rows = np.flatnonzero(self.truth >= 0)
        return float(-self.at(temperature)[rows, self.truth[rows]].mean()) if rows.size else np.nan

    def rows(self, chosen: np.ndarray) -> Judged:
        """Some of the cells."""
        return Judged(self.scores[chosen], self.truth[chosen])


def fit_temperature(judged: Judged) -> float:
    """The temperature with the least log loss; 1 without a cell whose truth is a candidate."""
    if not (judged.truth >= 0).any():
        return 1.0

    def loss(log_temperature: float) -> float:
        return judged.log_loss(np.exp(log_temperature))

    return float(np.exp(minimize_scalar(loss, bounds=BOUNDS).x))


def fit_isotonic(confidence: np.ndarray, right: np.ndarray) -> IsotonicRegression:
    """How often labels are right, by their probability: never less for a higher one."""
    return IsotonicRegression(out_of_bounds="clip").fit(confidence, right)


def folds(n: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cells of four fifths, and those of the other: each cell is among the latter once."""
    return KFold(N_FOLDS, shuffle=True, random_state=seed % 2**32).split(np.empty(n))


def held_out_temperatures(judged: Judged, seed: int) -> np.ndarray:
    """For each cell the temperature by the four folds that it is not in; float64 (n_cells,)."""
    found = np.ones(len(judged.truth))
    for others, own in folds(found.size, seed):
        found[own] = fit_temperature(judged.rows(others))
    return found


def held_out_isotonic(judged: Judged, seed: int) -> np.ndarray:
    """For each cell how often such labels are right in the four folds that it is not in."""
    confidence, right = judged.confidence(), judged.right
    found = np.empty_like(confidence)
    for others, own in folds(found.size, seed):
        found[own] = fit_isotonic(confidence[others], right[others]).predict(confidence[own])
    return found


def corrected(judged: Judged, temperatures: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Probabilities of the labels by suffix: as they are, and by what other cells correct.

    Parameters
    ----------
    temperatures
        Of `held_out_temperatures`.
    """
    return {
        "": judged.confidence(),
        "_tempered": judged.confidence(temperatures),
        "_isotonic": held_out_isotonic(judged, seed),
    }


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """Bin of each cell, equally many in each as far as confidences differ; int (n_cells,)."""
    n_bins = max(1, min(N_BINS, confidence.size // CELLS_PER_BIN))
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, n_bins + 1)))
    return np.searchsorted(edges[1:-1], confidence, side="left")


def calibration_errors(confidence: np.ndarray, right: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Expected calibration errors by weights of the cells.

    Parameters
    ----------
    shares
        float64 (n_rows, n_cells); rows sum to 1.

    Returns
    -------
    float64 (n_rows,).
    """
    gaps = (right - confidence)[:, None] * np.eye(N_BINS)[bins_of(confidence)]
    return np.abs(shares @ gaps).sum(axis=1)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error of some cells."""
    n = confidence.size
    return float(calibration_errors(confidence, right, np.full((1, n), 1 / n))[0])


def null_answers(confidence: np.ndarray, seed: int) -> np.ndarray:
    """Whether labels would be right if they were calibrated: bool (N_RESAMPLES, n_cells)."""
    rng = np.random.default_rng([seed, 1])
    return rng.random((N_RESAMPLES, confidence.size)) < confidence


def null_errors(confidence: np.ndarray, seed: int) -> np.ndarray:
    """The error of predictors that are calibrated, with these confidences: (N_RESAMPLES,)."""
    drawn, n = null_answers(confidence, seed), confidence.size
    return np.abs((drawn - confidence) @ np.eye(N_BINS)[bins_of(confidence)] / n).sum(axis=1)


def debiased_square(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Mean square of the bins' errors, less what so few cells add: float64 (n_rows,).

    Its mean over samples is the mean square of all cells' bins, of a calibrated predictor 0; so a
    single one can be below 0.

    Parameters
    ----------
    right
        bool (n_rows, n_cells): whether each label is right, in each row of answers.
    """
    places = np.eye(N_BINS)[bins_of(confidence)]
    places = places[:, places.sum(axis=0) > 1]
    sizes = places.sum(axis=0)
    hits, expected = right @ places / sizes, confidence @ places / sizes
    own = (hits - expected) ** 2 - hits * (1 - hits) / (sizes - 1)
    return own @ sizes / sizes.sum()


def root(squares: np.ndarray) -> np.ndarray:
    """Square root, 0 of what is below."""
    return np.sqrt(np.maximum(squares, 0))


def calibration_figures(judged: Judged, seed: int) -> list[Figure]:
    """Figures of a label: errors before and after corrections, and the area under the risk.

    Returns
    -------
    ece with an interval over cells and rms_error, both with the null of a calibrated predictor,
    and the same with the suffixes of `corrected`, where each cell is corrected by the folds that it
    is not in; log_loss and log_loss_tempered; temperature, of all cells; accuracy, confidence; and
    aurc, the mean of the risk over all coverages, whose null is leaving cells out by chance. None
    of fewer than `MIN_CELLS` cells.
    """
    n = len(judged.truth)
    if n < MIN_CELLS:
        return []
    right, temperatures = judged.right, held_out_temperatures(judged, seed)
    figures = []
    for suffix, confidence in corrected(judged, temperatures, seed).items():
        errors = calibration_errors(confidence, right, weights(n, seed))
        null = null_errors(confidence, seed)
        figures += [
            Figure(
                f"ece{suffix}", "", ANNOTATION, float(errors[0]), n, "",
                *bootstrap_interval(errors, n, (0, 1)), None, float(null.mean()),
                *map(float, np.quantile(null, [0.025, 0.975])),
            ),
            _rms_figure(f"rms_error{suffix}", confidence, right, seed),
        ]  # fmt: skip
    figures += [
        Figure("log_loss", "", ANNOTATION, judged.log_loss(), n),
        Figure("log_loss_tempered", "", ANNOTATION, judged.log_loss(temperatures), n),
    ]
    confidence = judged.confidence()
    risks = _risks(confidence, right)
    return [
        *figures,
        Figure("temperature", "", ANNOTATION, fit_temperature(judged), n),
        Figure("accuracy", "", ANNOTATION, right.mean(), n, "", *share_interval(right.sum(), n)),
        Figure("confidence", "", ANNOTATION, float(confidence.mean()), n),
        Figure("aurc", "", ANNOTATION, float(risks.mean()), n, null=float((~right).mean())),
    ]


def _rms_figure(name: str, confidence: np.ndarray, right: np.ndarray, seed: int) -> Figure:
    null = root(debiased_square(confidence, null_answers(confidence, seed)))
    value = float(root(debiased_square(confidence, right[None]))[0])
    return Figure(
        name, "", ANNOTATION, value, right.size, null=float(null.mean()),
        null_low=float(np.quantile(null, 0.025)), null_high=float(np.quantile(null, 0.975)),
    )  # fmt: skip


def _risks(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Share that is wrong of the surest cell, the two surest, … of all; equally sure ones alike."""
    order = np.argsort(-confidence, kind="stable")
    kept = np.arange(1, confidence.size + 1)
    wrong = np.cumsum(~right[order])
    # Cells of one confidence are kept or left together: each has the mean of theirs.
    _, group, sizes = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    last = np.cumsum(sizes) - 1
    before = np.concatenate([[0], wrong[last]])[group]
    own = np.diff(np.concatenate([[0], wrong[last]])) / sizes
    first = np.concatenate([[0], last + 1])[group]
    return (before + own[group] * (kept - first)) / kept


def calibration_curves(judged: Judged, seed: int) -> Iterator[dict[str, object]]:
    """Points of the curves, a row each.

    Yields
    ------
    curve, x, y, low, high, n, min_probability. Of ``reliability``, with the suffixes of
    `corrected`, a bin: mean probability, share that is right with Wilson's 95 % interval, cells. Of
    ``isotonic`` a step: mean probability of its cells, share that is right, cells, the limit from
    which on it holds. Of ``risk_coverage`` a limit: share of the cells at or above it, share of
    these that is wrong with its interval, these cells, the limit.
    """
    n = len(judged.truth)
    if n < MIN_CELLS:
        return
    right, temperatures = judged.right, held_out_temperatures(judged, seed)
    for suffix, confidence in corrected(judged, temperatures, seed).items():
        bins = bins_of(confidence)
        for number in np.unique(bins):
            own = bins == number
            yield _point(f"reliability{suffix}", confidence[own].mean(), right[own], np.nan)
    confidence = judged.confidence()
    fitted = fit_isotonic(confidence, right).predict(confidence)
    for level in np.unique(fitted):
        own = fitted == level
        yield _point("isotonic", confidence[own].mean(), right[own], confidence[own].min())
    for limit in np.unique(np.quantile(confidence, np.linspace(0, 1, N_STEPS), method="lower")):
        kept = confidence >= limit
        yield _point("risk_coverage", kept.mean(), ~right[kept], limit)


def _point(curve: str, x: float, hits: np.ndarray, limit: float) -> dict[str, object]:
    low, high = share_interval(int(hits.sum()), hits.size)
    return {
        "curve": curve, "x": float(x), "y": float(hits.mean()), "low": low, "high": high,
        "n": hits.size, "min_probability": float(limit),
    }  # fmt: skip


def curves_table(rows: Iterator[dict[str, object]]) -> pd.DataFrame:
    """The points of `calibration_curves` as a table."""
    names = ["curve", "x", "y", "low", "high", "n", "min_probability"]
    return pd.DataFrame(list(rows), columns=names)
