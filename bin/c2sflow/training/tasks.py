"""What a model is trained to do, and which examples an epoch of it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.obs.labels import is_labelled
from c2sflow.training.groups import TrainingGroups
from c2sflow.training.pairing import label_codes

# What a task cannot do without, columns above all, by the name of the option.
NEEDS = {
    "cell_type": ("label_column",),
    "generation": (),
    "perturbation": ("perturbation_column",),
    "conversion": ("label_column",),
    "tissue": ("tissue_column", "cells_per_prompt"),
    "tissue_generation": ("cells_per_answer",),
}
TASKS = tuple(NEEDS)
OF_GROUPS = {"tissue", "tissue_generation"}  # whose examples are of several cells each


def parse_tasks(text: str) -> dict[str, float]:
    """Share of each task among the examples; the shares add up to 1.

    Parameters
    ----------
    text
        Such as ``cell_type,perturbation:2``: names with commas between, each with a weight if
        wanted, else 1.

    Raises
    ------
    UserError
        If a task is unknown or named twice, or a weight is no number above 0.
    """
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, weight = (word.strip() for word in part.partition(":"))
        if name not in TASKS:
            raise UserError(f"tasks {text!r}: no task {name!r}; there are {', '.join(TASKS)}")
        if name in weights:
            raise UserError(f"tasks {text!r}: {name} is named twice")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            weights[name] = np.nan
        if not 0 < weights[name] < np.inf:
            raise UserError(f"tasks {text!r}: the weight of {name} must be a number above 0")
    if not weights:
        raise UserError(f"tasks {text!r}: names no task; there are {', '.join(TASKS)}")
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


@dataclass(frozen=True)
class Draw:
    """An example before it is written out.

    Attributes
    ----------
    cell
        Row of the cell that is asked for: whose type or sentence is the answer.
    source
        Row of the cell in the prompt, where it is another: the control, or the cell to convert.
    number
        Position in the endless row of examples: what else is left to chance is drawn by it.
    members
        Of a task of groups, the rows of the group's cells, in their order; `cell` is the first.
    """

    task: str
    cell: int
    source: int
    number: int
    members: tuple[int, ...] = ()


def usable_cells(
    tasks: Mapping[str, float],
    obs: pd.DataFrame,
    label_column: str | None = None,
    perturbed: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Rows of the cells that can be asked for in each task; tasks without any are left out.

    Parameters
    ----------
    perturbed
        bool (n_cells,): perturbed cells that have a control, and controls that stand for the no-op,
        for that task.
    """
    rows = {"generation": np.arange(len(obs)), **dict.fromkeys(OF_GROUPS, np.empty(0, dtype=int))}
    if label_column is not None:
        rows["cell_type"] = np.flatnonzero(is_labelled(obs[label_column]))
        organisms = obs.get("organism")
        rows["conversion"] = np.flatnonzero(has_other_label(obs[label_column], organisms))
    if perturbed is not None:
        rows["perturbation"] = np.flatnonzero(perturbed)
    return {task: rows[task] for task in tasks if rows[task].size}


class Epochs:
    """An endless row of examples, decided by the seed alone.

    Each task has its share of an epoch. Within a task every cell is asked for before one is asked
    for again, through all epochs; among those whose turn it is, it prefers cells that no other task
    asks for in this epoch. With weights, cells are drawn by these instead, each for itself.

    Parameters
    ----------
    rows
        From `usable_cells`.
    tasks
        Share of each task; those that have no cells fall to the others.
    sources
        For a task whose prompt holds another cell: given random numbers and the rows that are asked
        for, the rows of the cells in the prompts.
    weights
        float (n_cells,): how often a cell is drawn, or None for each in turn.
    n_examples
        Of an epoch.
    groups
        For a task of groups, what `rows` is for others: an endless row of groups of cells.
    """

    def __init__(
        self,
        rows: Mapping[str, np.ndarray],
        tasks: Mapping[str, float],
        sources: Mapping[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]],
        seed: int,
        weights: np.ndarray | None,
        n_examples: int,
        groups: Mapping[str, TrainingGroups] | None = None,
    ):
        self._rows, self._sources, self._weights, self._seed = rows, sources, weights, seed
        self._groups = groups or {}
        self.n_examples = n_examples
        names = [*rows, *self._groups]
        shares = np.array([tasks[task] for task in names])
        exact = shares / shares.sum() * self.n_examples
        counts = np.floor(exact).astype(int)
        short = self.n_examples - counts.sum()
        counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
        self.counts = dict(zip(names, counts.tolist(), strict=True))
        self._draws: list[Draw] = []
        self._begin()

    def __getitem__(self, number: int) -> Draw:
        epoch, place = divmod(number, self.n_examples)
        if epoch < self._epoch:  # what an epoch asks for depends on those before it
            self._begin()
        while self._epoch < epoch:
            self._epoch += 1
            self._draws = self._draw(self._epoch)
        return self._draws[place]

    def _begin(self) -> None:
        self._epoch = -1
        self._draws = []
        self._asked = {task: np.zeros(rows.size, dtype=int) for task, rows in self._rows.items()}

    def _draw(self, epoch: int) -> list[Draw]:
        rng = np.random.default_rng((self._seed, epoch))
        asked: list[tuple[str, int, int, tuple[int, ...]]] = []
        n_cells = 1 + max((int(rows.max()) for rows in self._rows.values()), default=0)
        taken = np.zeros(n_cells, dtype=bool)  # by a task of this epoch
        # Tasks with few cells first: the others have more to choose from.
        for task in sorted(self._rows, key=lambda name: self._rows[name].size):
            cells = self._cells(rng, task, taken)
            taken[cells] = True
            sources = self._sources[task](rng, cells) if task in self._sources else cells
            pairs = zip(cells.tolist(), sources.tolist(), strict=True)
            asked += [(task, cell, source, ()) for cell, source in pairs]
        for task, groups in self._groups.items():
            count = self.counts[task]
            drawn = [groups[number] for number in range(epoch * count, (epoch + 1) * count)]
            asked += [(task, members[0], members[0], members) for members in drawn]
        first = epoch * self.n_examples
        order = (asked[place] for place in rng.permutation(len(asked)).tolist())
        return [
            Draw(task, cell, source, number, members)
            for number, (task, cell, source, members) in enumerate(order, first)
        ]

    def _cells(self, rng: np.random.Generator, task: str, taken: np.ndarray) -> np.ndarray:
        """Cells that a task asks for in an epoch: those it has asked for least."""
        rows, count = self._rows[task], self.counts[task]
        if self._weights is not None:
            weights = self._weights[rows]
            return rng.choice(rows, count, p=weights / weights.sum())
        turns, rest = divmod(count, rows.size)
        order = np.lexsort((rng.random(rows.size), taken[rows], self._asked[task]))[:rest]
        self._asked[task] += turns
        self._asked[task][order] += 1
        return np.concatenate([np.tile(rows, turns), rows[order]])


def label_weights(labels: pd.Series) -> np.ndarray:
    """Of each cell, so that a label is drawn by the square root of how common it is.

    Cells without a label count as one more label.
    """
    codes = label_codes(labels, len(labels))
    return np.unique(codes, return_counts=True)[1][np.unique(codes, return_inverse=True)[1]] ** -0.5


def other_label(
    labels: pd.Series,
    organisms: pd.Series | None = None,
    replicates: pd.Series | None = None,
) -> Callable[[np.random.Generator, np.ndarray], np.ndarray]:
    """For the cells asked for, random cells of another label, of the same organism.

    They are of the same replicate, such as a donor, where it has cells of another label.
    """
    codes = label_codes(labels, len(labels))
    kinds = label_codes(organisms, len(labels))
    own = label_codes(replicates, len(labels))
    own = np.where(own < 0, -1 - np.arange(own.size), own)  # of no known replicate: each alone

    def draw(rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        chosen = np.empty(cells.size, dtype=int)
        groups = pd.DataFrame({"kind": kinds[cells], "own": own[cells], "code": codes[cells]})
        for (kind, replicate, code), places in groups.groupby(list(groups)).indices.items():
            others = (codes >= 0) & (codes != code) & (kinds == kind)
            near = others & (own == replicate)
            some = np.flatnonzero(near if near.any() else others)
            chosen[places] = rng.choice(some, places.size)
        return chosen

    return draw


def has_other_label(labels: pd.Series, organisms: pd.Series | None = None) -> np.ndarray:
    """bool (n_cells,): the cell has a label, and its organism has cells of another."""
    codes, kinds = label_codes(labels, len(labels)), label_codes(organisms, len(labels))
    many = pd.Series(codes).where(codes >= 0).groupby(kinds).transform("nunique").to_numpy()
    return (codes >= 0) & (many > 1)
