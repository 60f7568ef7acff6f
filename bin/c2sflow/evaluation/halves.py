"""Two sides that share no cell: one is what a prediction must meet, the other is all it may use.

A change is a difference to control cells. Where prediction and truth take it from the same control
cells, the noise of these is in both, and they agree where nothing happened; the same where genes
are chosen by the cells that judge them. So measured and control cells are halved at random: the
truth, and the genes it chooses, are of one half; predictions are of answers to control cells of the
other half, and so are their baselines. A figure is its mean over many such splits.

A comparison also needs equal numbers, for means of few cells are noisier: of a split as many
answers are taken as there are measured cells on their side, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

N_SPLITS = 20
N_RESAMPLES = 100  # bootstrap resamples of the cells
N_PERMUTED = 50  # times that measured and control cells swap their labels
N_EACH = 4  # splits of each of these
TOGETHER = 10  # resamples or permutations that are held at a time


@dataclass
class Rows:
    """How often each cell counts in each split; a row is a split.

    Attributes
    ----------
    measured, control
        int (n_rows, n_cells): of the side of the truth.
    baseline
        Control cells of the other side.
    half, half_control
        Measured and control cells of the other side, as many as there are answers.
    answers
        int (n_rows, n_answers): answers to control cells of the other side.
    others
        int (n_rows, n_pairs): answers with another control cell in their place, both of that side.
    """

    measured: np.ndarray
    control: np.ndarray
    baseline: np.ndarray
    half: np.ndarray
    half_control: np.ndarray
    answers: np.ndarray
    others: np.ndarray


@dataclass
class Halves:
    """The cells of one comparison, and how they are halved.

    Attributes
    ----------
    measured
        bool (n_cells,): measured cells; the others are control cells.
    source
        int (n_answers,): the control cell of each answer, its place among the cells.
    pairs
        int (n_pairs, 2): a control cell that has an answer, and another one.
    seed
        Decides the splits, resamples and permutations.
    """

    measured: np.ndarray
    source: np.ndarray
    pairs: np.ndarray
    seed: int

    def __post_init__(self) -> None:
        sides = self._sides(np.tile(self.measured, (N_SPLITS, 1)), self._rng(0))
        self._splits = sides

    def _rng(self, *more: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *more])

    def observed(self) -> Rows:
        """The cells as they are, in `N_SPLITS` splits."""
        labels = np.tile(self.measured, (N_SPLITS, 1))
        return self._rows(labels, self._splits, np.ones_like(labels, dtype=int), self._rng(1))

    def resampled(self) -> Iterator[tuple[np.ndarray, Rows]]:
        """Bootstrap resamples of the cells, each in `N_EACH` of the same splits; and which.

        Copies of a cell stay on one side. An answer is drawn with its control cell.
        """
        rng = self._rng(2)
        for start in range(0, N_RESAMPLES, TOGETHER):
            times = np.zeros((TOGETHER, self.measured.size), dtype=int)
            for group in (self.measured, ~self.measured):
                n = int(group.sum())
                times[:, group] = rng.multinomial(n, np.full(n, 1 / n), TOGETHER)
            places = (start * N_EACH + np.arange(TOGETHER * N_EACH)) % N_SPLITS
            labels = np.tile(self.measured, (places.size, 1))
            times = np.repeat(times, N_EACH, axis=0)
            yield places, self._rows(labels, self._splits[places], times, rng)

    def permuted(self) -> Iterator[Rows]:
        """No effect: which cells are measured ones is drawn anew; each time in `N_EACH` splits."""
        rng = self._rng(3)
        for _ in range(0, N_PERMUTED, TOGETHER):
            labels = rng.permuted(np.tile(self.measured, (TOGETHER, 1)), axis=1)
            labels = np.repeat(labels, N_EACH, axis=0)
            times = np.ones_like(labels, dtype=int)
            yield self._rows(labels, self._sides(labels, rng), times, rng)

    def _sides(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which cells are on the side of the truth: half of each kind, bool (n_rows, n_cells)."""
        answered = np.zeros(self.measured.size, dtype=int)
        answered[self.source] = 1
        order = np.argsort(2 * labels + answered + rng.random(labels.shape), axis=1)
        parity = (np.arange(labels.shape[1]) + rng.integers(2, size=(len(labels), 1))) % 2
        sides = np.empty(labels.shape, dtype=bool)
        np.put_along_axis(sides, order, parity == 0, axis=1)
        return sides

    def _rows(
        self, labels: np.ndarray, truth: np.ndarray, times: np.ndarray, rng: np.random.Generator
    ) -> Rows:
        other = ~truth
        answers, half = other[:, self.source], other & labels
        pairs = other[:, self.pairs[:, 0]] & other[:, self.pairs[:, 1]]
        most = np.minimum(answers.sum(axis=1), half.sum(axis=1))
        both = times[:, self.pairs[:, 0]] * times[:, self.pairs[:, 1]]
        return Rows(
            measured=times * (truth & labels),
            control=times * (truth & ~labels),
            baseline=times * (other & ~labels),
            half=times * some(half, most, rng),
            half_control=times * some(other & ~labels, most, rng),
            answers=times[:, self.source] * some(answers, most, rng),
            others=both * some(pairs, most, rng),
        )


def some(chosen: np.ndarray, most: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most so many of those chosen in each row, at random; bool, as `chosen`.

    Parameters
    ----------
    chosen
        bool (n_rows, n).
    most
        int (n_rows,).
    """
    keys = np.where(chosen, rng.random(chosen.shape), 2.0)
    places = np.argsort(np.argsort(keys, axis=1), axis=1)
    return chosen & (places < most[:, None])


def thinned(n_rows: int) -> np.ndarray:
    """The rows that slow figures are of: all splits of the cells as they are, else one each.

    Resamples and permutations only show how sure the value is; a split more each would narrow it.
    """
    return np.arange(0, n_rows, 1 if n_rows == N_SPLITS else N_EACH)


def shares(times: np.ndarray) -> np.ndarray:
    """Counts as weights: each row sums to 1, and is NaN where it counts nothing."""
    total = times.sum(axis=1, keepdims=True).astype(float)
    return times / np.where(total > 0, total, np.nan)
