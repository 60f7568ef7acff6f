"""Control cells for perturbed cells: which of them stands in the prompt.

A screen kills the cells it measures, so that no control cell is the past of a perturbed one. A
pair is a guess: cells of one stratum (cell type, where the labels are known), drawn at random anew
in every epoch, or matched once by optimal assignment, which pairs like with like within a stratum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from c2sflow.draws import cell_draws
from c2sflow.obs_labels import is_labelled

BLOCK = 1000  # cells assigned at once: a matrix of so many squared takes half a second


class Pairing:
    """Controls of the perturbed cells.

    Parameters
    ----------
    control
        bool (n_cells,): control cells.
    strata
        (n_cells,): a control stands for cells of its own stratum only; None for a single one.

    Attributes
    ----------
    has_control
        bool (n_cells,): whether there is a control in the cell's stratum.
    """

    def __init__(self, control: np.ndarray, strata: pd.Series | None = None):
        n_cells = control.size
        self.codes = (
            np.zeros(n_cells, int)
            if strata is None
            else pd.factorize(strata.astype(str).where(is_labelled(strata)))[0]
        )
        self.controls = {
            code: np.flatnonzero(control & (self.codes == code)) for code in np.unique(self.codes)
        }
        self.controls.pop(-1, None)  # a cell without a label has no stratum
        occupied = [code for code, rows in self.controls.items() if rows.size]
        self.has_control = np.isin(self.codes, occupied)

    def __call__(self, rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        """A random control for each of these cells."""
        chosen = np.empty(cells.size, dtype=int)
        for code in np.unique(self.codes[cells]):
            here = self.codes[cells] == code
            chosen[here] = rng.choice(self.controls[code], int(here.sum()))
        return chosen


class Assignment(Pairing):
    """Controls matched by optimal assignment: the sum of squared distances is least.

    Each condition and stratum is assigned by itself, in blocks of at most `BLOCK` perturbed and as
    many control cells, drawn by a hash of their names. Within a block no control is used twice.

    Parameters
    ----------
    control, strata
        See `Pairing`.
    cells
        sample and cell_id.
    conditions
        (n_cells,): what was done to each cell.
    perturbed
        bool (n_cells,): cells to find a control for.
    vectors
        float32 (n_cells, n_dims): where the cells lie; only those of control and perturbed cells
        are looked at.
    """

    def __init__(
        self,
        control: np.ndarray,
        strata: pd.Series | None,
        cells: pd.DataFrame,
        conditions: pd.Series,
        perturbed: np.ndarray,
        vectors: np.ndarray,
        seed: int,
    ):
        super().__init__(control, strata)
        self._match = np.full(control.size, -1)
        draws = cell_draws(cells, seed, "pairing")
        order = np.array(sorted(range(len(draws)), key=draws.__getitem__), dtype=int)
        groups: dict[tuple, list[int]] = {}
        for row in order[(perturbed & self.has_control)[order]]:
            groups.setdefault((self.codes[row], conditions.iloc[row]), []).append(row)
        drawn = {code: order[np.isin(order, rows)] for code, rows in self.controls.items()}
        for (code, _), rows in groups.items():
            self._assign(np.array(rows), drawn[code], vectors)

    def _assign(self, rows: np.ndarray, controls: np.ndarray, vectors: np.ndarray) -> None:
        """Blocks of perturbed cells to blocks of controls, which begin anew when all are used."""
        size = min(BLOCK, controls.size)
        for number, start in enumerate(range(0, rows.size, size)):
            block = rows[start : start + size]
            first = number * size % controls.size
            # More controls than cells: the best are taken out of all that a block holds.
            chosen = np.roll(controls, -first)[: min(BLOCK, controls.size)]
            distances = _squared_distances(vectors[block], vectors[chosen])
            left, right = linear_sum_assignment(distances)
            self._match[block[left]] = chosen[right]

    def __call__(self, _rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        """The control of each of these cells."""
        return self._match[cells]


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
