"""Control cells for perturbed cells: which of them is in the prompt.

A screen kills the cells it measures, so that no control cell is the past of a perturbed one. A
pair is a guess: cells of one stratum (organism, and cell type where labels are known) and, where it
has controls, of one replicate, such as a donor. They are drawn at random anew in every epoch; or as
many controls as cells are drawn, and assigned so that like is paired with like.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from c2sflow.data.obs.labels import is_labelled

BLOCK = 1000  # cells assigned at once: a matrix of so many squared takes half a second


class Pairing:
    """Controls of the perturbed cells.

    Parameters
    ----------
    control
        bool (n_cells,): control cells.
    strata
        (n_cells,): a control is paired with cells of its own stratum only; None for a single one.
    replicates
        (n_cells,): a control is paired with cells of its own replicate (donor, sample), where the
        cell's stratum has controls of it; else for those of all replicates. None for a single one.

    Attributes
    ----------
    has_control
        bool (n_cells,): whether there is a control in the cell's stratum.
    across
        bool (n_cells,): whether they are of other replicates, for want of controls of its own.
    has_another
        bool (n_cells,): whether the cell is a control that can be paired with another one.
    """

    def __init__(
        self,
        control: np.ndarray,
        strata: pd.Series | None = None,
        replicates: pd.Series | None = None,
    ):
        strata, own = label_codes(strata, control.size), label_codes(replicates, control.size)
        both = pd.MultiIndex.from_arrays([strata, own]).factorize()[0]
        both[(strata < 0) | (own < 0)] = -1
        self.controls: list[np.ndarray] = []
        near, far = (self._pools(control, codes) for codes in (both, strata))
        self.pool = np.where(near >= 0, near, far)  # number of the controls paired with a cell
        self.has_control = self.pool >= 0
        self.across = self.has_control & (near < 0)
        sizes = np.array([*(controls.size for controls in self.controls), 0])  # 0 of no pool
        self.has_another = control & (sizes[self.pool] > 1)

    def _pools(self, control: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Add the controls of each code; their number for each cell, -1 where there are none."""
        found = np.full(codes.size, -1)
        rows = np.flatnonzero(control & (codes >= 0))
        for code, own in pd.Series(rows).groupby(codes[rows]):
            found[codes == code] = len(self.controls)
            self.controls.append(own.to_numpy())
        return found

    def __call__(self, rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        """A random control for each of these cells, another one for a control."""
        chosen = np.empty(cells.size, dtype=int)
        for pool in np.unique(self.pool[cells]):
            here = self.pool[cells] == pool
            chosen[here] = rng.choice(self.controls[pool], int(here.sum()))
        return self._others(rng, cells, chosen)

    def _others(
        self, rng: np.random.Generator, cells: np.ndarray, chosen: np.ndarray
    ) -> np.ndarray:
        """What is chosen, but another control for one that would be paired with itself."""
        for place in np.flatnonzero((chosen == cells) & self.has_another[cells]):
            controls = self.controls[self.pool[cells[place]]]
            chosen[place] = rng.choice(controls[controls != cells[place]])
        return chosen


class Assignment(Pairing):
    """Controls by optimal assignment: of as many as there are cells, like is paired with like.

    For the cells of a condition that are asked for together, as many controls are drawn first, at
    random; then each is assigned to a cell so that the sum of squared distances is least. All that
    are drawn are used: the mean of the controls is not that of those most like the perturbed cells,
    which would leave little of the perturbation's effect to learn. Groups are assigned in blocks of
    at most `BLOCK` cells.

    Parameters
    ----------
    control, strata, replicates
        See `Pairing`.
    conditions
        (n_cells,): what was done to each cell.
    vectors
        float32 (n_cells, n_dims): coordinates of the cells; only control and perturbed cells
        are used.
    """

    def __init__(
        self,
        control: np.ndarray,
        strata: pd.Series | None,
        conditions: pd.Series,
        vectors: np.ndarray,
        replicates: pd.Series | None = None,
    ):
        super().__init__(control, strata, replicates)
        self.conditions = label_codes(conditions, control.size)
        self.vectors = vectors

    def __call__(self, rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        """A control for each of these cells, another one for a control."""
        chosen = np.empty(cells.size, dtype=int)
        groups = pd.DataFrame({"pool": self.pool[cells], "condition": self.conditions[cells]})
        for (pool, _), places in groups.groupby(["pool", "condition"]).indices.items():
            places, controls = rng.permutation(places), self.controls[pool]
            left = controls[:0]
            size = min(BLOCK, controls.size)
            for start in range(0, places.size, size):
                block = places[start : start + size]
                if left.size < block.size:  # none twice before all were drawn
                    left = rng.permutation(controls)
                drawn, left = left[: block.size], left[block.size :]
                chosen[block] = drawn[self._assign(cells[block], drawn)]
        return self._others(rng, cells, chosen)

    def _assign(self, cells: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """Place of each cell's control among as many controls, itself if there is no other way."""
        costs = _squared_distances(self.vectors[cells], self.vectors[controls])
        costs[cells[:, None] == controls] = (costs.max() + 1) * cells.size
        return linear_sum_assignment(costs)[1]


def label_codes(labels: pd.Series | None, n_cells: int) -> np.ndarray:
    """A number for each label, -1 for none; 0 for all cells without labels."""
    if labels is None:
        return np.zeros(n_cells, dtype=int)
    return pd.factorize(labels.astype(str).str.strip().where(is_labelled(labels)))[0]


def _squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left, right = left.astype(np.float64), right.astype(np.float64)
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)
    return squares - 2 * left @ right.T


def rank_vectors(
    sentences: Sequence[Sequence[str]], n_dims: int = 128, most: int = 100
) -> np.ndarray:
    """Cells as points by the ranks of their first genes, where there is no model to embed them.

    A gene counts 1 at the head of a sentence and less further on, down to 0 behind `most` genes.
    Random projection keeps the distances (Johnson and Lindenstrauss, 1984).

    Returns
    -------
    float32 (n_cells, n_dims)
    """
    rng = np.random.default_rng(0)
    directions: dict[str, np.ndarray] = {}
    vectors = np.zeros((len(sentences), n_dims), dtype=np.float32)
    for vector, genes in zip(vectors, sentences, strict=True):
        for rank, gene in enumerate(genes[:most]):
            if gene not in directions:
                directions[gene] = rng.standard_normal(n_dims, dtype=np.float32)
            vector += np.float32(1 - rank / most) * directions[gene]
    return vectors / np.float32(n_dims**0.5)
