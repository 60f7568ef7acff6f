"""How far two groups of cells lie apart, as distributions: scFID and energy distance.

Both are compared at any number of cells: the energy distance by a form without bias, scFID at equal
numbers, because it grows as cells get fewer (`scfid_bias`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

from c2sflow.halves import shares, thinned

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
    roots = []
    for group in (one, other):
        group = np.asarray(group, dtype=np.float64)
        root = (group - group.mean(axis=0)) / np.sqrt(len(group) - 1)
        # The triangle of a QR decomposition has the same AᵀA in fewer rows.
        roots.append(np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root)
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

    def __init__(self, one: np.ndarray, other: np.ndarray, origins: Sequence | None = None):
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
