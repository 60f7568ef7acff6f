"""Distances of groups of cells: scFID and energy distance, beside baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

from c2sflow.evaluation.conditions import Condition
from c2sflow.evaluation.figures import Figure, Key, summarise
from c2sflow.evaluation.halves import Rows, shares, thinned

MAX_CELLS = 500  # of a group: time grows with the square of the cells
SCFID_CELLS = 100  # of a group: time grows with the third power
BIAS_SIZES = (8, 16, 32, 64)


def scfid(one: np.ndarray, other: np.ndarray) -> float:
    """Fréchet distance of two groups of cells in an embedding space.

    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½), the squared 2-Wasserstein distance of two normal
    distributions with the groups' means and covariances (Dowson & Landau, 1982; FID, Heusel et
    al., 2017; on cells, scFID of C2S-Scale, Rizvi et al., 2025). tr (Σ₁Σ₂)^½ is the sum of the
    singular values of A₁A₂ᵀ for Σ = AᵀA, so that no root of a matrix is taken: real, finite and
    not negative also for fewer cells than dimensions. Then the covariances are known badly and
    the distance is too large (Chong & Forsyth, 2020): only distances of as many cells compare.

    Parameters
    ----------
    one, other
        float (n_cells, n_dimensions), two cells or more.

    Returns
    -------
    In squared units of the space; NaN for fewer than two cells.
    """
    if min(len(one), len(other)) < 2:
        return np.nan
    roots: list[np.ndarray] = []
    for cells in (one, other):
        group = np.asarray(cells, dtype=np.float64)
        root = (group - group.mean(axis=0)) / np.sqrt(len(group) - 1)
        if len(root) > root.shape[1]:
            # The triangle of a QR decomposition has the same AᵀA in fewer rows.
            root = np.linalg.qr(root, mode="r")
        roots.append(root)
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    traces = sum(np.square(root).sum() for root in roots)
    shift = np.square(np.mean(one, axis=0, dtype=np.float64) - np.mean(other, axis=0)).sum()
    return float(max(0.0, shift + traces - 2 * shared))


def scfid_of_rows(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]], real: np.ndarray, times: np.ndarray,
    seed: int,
) -> tuple[dict[str, np.ndarray], int]:  # fmt: skip
    """scFID of each group and the real cells, of as many cells of every group.

    Parameters
    ----------
    groups
        Name to cells, float (n_cells, n_dimensions), and how often each counts in each split, int
        (n_rows, n_cells).
    real, times
        The same of the real cells.

    Returns
    -------
    Name to float64 (n_rows,); and the number of cells that were compared, the least of any split
    with cells, at most `SCFID_CELLS`.
    """
    rng = np.random.default_rng(seed)
    sizes = [np.count_nonzero(own, axis=1) for _, own in groups.values()]
    sizes = np.minimum(np.min([*sizes, np.count_nonzero(times, axis=1)], axis=0), SCFID_CELLS)
    found = {name: np.full(len(times), np.nan) for name in groups}
    for row in thinned(len(times)):
        size = sizes[row]
        wanted = real[_drawn(times[row], size, rng)]
        for name, (cells, own) in groups.items():
            found[name][row] = scfid(cells[_drawn(own[row], size, rng)], wanted)
    return found, int(min(sizes[sizes > 1], default=0))


def _drawn(times: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """So many of the cells that count, each as often as it does."""
    chosen = rng.permutation(np.flatnonzero(times))[:size]
    return np.repeat(chosen, times[chosen])


def scfid_bias(cells: np.ndarray, times: np.ndarray, seed: int) -> dict[int, float]:
    """scFID of two sets of cells that differ by nothing but chance, for growing sets.

    Parameters
    ----------
    cells
        float (n_cells, n_dimensions).
    times
        bool or int (n_rows, n_cells): one set of each split is drawn from these, the other from
        the rest.

    Returns
    -------
    Cells of a set to the mean over the splits, for 8, 16, 32 and 64 as far as there are cells.
    """
    rng = np.random.default_rng(seed)
    sides = [
        (rng.permutation(np.flatnonzero(r)), rng.permutation(np.flatnonzero(r == 0))) for r in times
    ]
    most = min((min(map(len, pair)) for pair in sides), default=0)
    return {
        size: float(
            np.mean([scfid(cells[one[:size]], cells[other[:size]]) for one, other in sides])
        )
        for size in BIAS_SIZES
        if size <= most
    }


class EnergyDistance:
    """Energy distance of two groups of cells, in any weights.

    2 E|X - Y| - E|X - X'| - E|Y - Y'| with the Euclidean distance (Székely & Rizzo, 2013), X and X'
    two different cells: the form without bias, which is 0 on average for two groups of one
    distribution, however many cells they have, and may be below 0. (With a cell's distance to
    itself among the pairs, the V-statistic, it falls with the number of cells.) scPerturb's
    E-distance (Peidli et al., 2024) squares the distances.

    Parameters
    ----------
    one, other
        float (n_cells, n_dimensions).
    origins
        What each cell of `one` is made of: two answers to one cell are no two cells, and their
        distance is left out. None: each is a cell of its own.
    """

    def __init__(self, one: np.ndarray, other: np.ndarray, origins: np.ndarray | None = None):
        self._origins = None if origins is None else np.unique(origins, return_inverse=True)[1]
        self._one, self._other = euclidean_distances(one), euclidean_distances(other)
        self._across = euclidean_distances(one, other)
        if self._origins is not None:
            self._one[self._origins[:, None] == self._origins] = 0

    def rows(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """A distance for each row of counts.

        Parameters
        ----------
        one, other
            int (n_rows, n_cells): how often each cell counts.

        Returns
        -------
        float64 (n_rows,), NaN where a side has fewer than two cells.
        """
        one, other = shares(one), shares(other)
        across = np.einsum("ri,ri->r", one @ self._across, other)
        return (
            2 * across - _within(self._one, one, self._origins) - _within(self._other, other, None)
        )


def _within(distances: np.ndarray, weights: np.ndarray, origins: np.ndarray | None) -> np.ndarray:
    """Mean distance of two different cells, by weights that sum to 1."""
    if origins is None:
        of_one = np.square(weights).sum(axis=1)
    else:
        members = np.zeros((len(origins), int(origins.max(initial=-1)) + 1))
        members[np.arange(len(origins)), origins] = 1
        of_one = np.square(weights @ members).sum(axis=1)
    total = np.einsum("ri,ri->r", weights @ distances, weights)
    return np.divide(total, 1 - of_one, out=np.full(len(total), np.nan), where=of_one < 1 - 1e-9)


def distance_figures(subject: str, condition: Condition, seed: int) -> Iterator[Figure]:
    """Figures in each space; of at most 500 answers, measured and control cells."""
    condition = condition.head(MAX_CELLS)
    halves = condition.halves(seed)
    for space in condition.measured.spaces:
        found = _Distances(condition, space, seed)
        for key, summary in summarise(halves, found).items():
            n, n_measured = condition.n_cells(key[2]), len(condition.measured)
            if key[0] == "scfid":
                n = n_measured = found.n_compared
            yield summary.figure(key, subject, n, n_reference=n_measured)
        splits = halves.observed().measured[:, len(condition.control) :]
        for size, value in scfid_bias(condition.measured.spaces[space], splits, seed).items():
            yield Figure(f"scfid_bias_{size}", subject, "measured_half", value, size, space,
                         n_reference=size)  # fmt: skip


class _Distances:
    """Where every predictor puts its cells in one space, and how far that is from the measured."""

    def __init__(self, condition: Condition, space: str, seed: int):
        control = condition.control.spaces[space]
        cells = np.concatenate([control, condition.measured.spaces[space]]).astype(np.float64)
        answers, others = (one.spaces[space] for one in (condition.answers, condition.others))
        self._groups = {"model": answers, "no_change": cells, "another_control": others}
        for name, one in condition.baselines.items():
            start = control.mean(axis=0) if one.control is None else one.control.spaces[space]
            self._groups[name] = cells + (one.measured.spaces[space] - start)
        self._groups["measured_half"] = self._cells = cells
        origins = {"model": condition.source, "another_control": condition.pairs[:, 1]}
        self._energy = {
            name: EnergyDistance(vectors, cells, origins.get(name))
            for name, vectors in self._groups.items()
            if len(vectors)
        }
        self._space, self._seed = space, seed
        self.n_compared = 0

    def __call__(self, rows: Rows, _: np.ndarray | None) -> Mapping[Key, np.ndarray]:
        own = {"model": rows.answers, "another_control": rows.others, "measured_half": rows.half}
        times = {name: own.get(name, rows.baseline) for name in self._energy}
        found: dict[Key, np.ndarray] = {
            ("energy_distance", self._space, name): energy.rows(times[name], rows.measured)
            for name, energy in self._energy.items()
        }
        groups = {name: (self._groups[name], times[name]) for name in self._energy}
        values, size = scfid_of_rows(groups, self._cells, rows.measured, self._seed)
        self.n_compared = self.n_compared or size  # of the cells as they are, which come first
        return found | {("scfid", self._space, name): one for name, one in values.items()}
