"""Groups of cells to train on, made as a run makes those that it asks about or for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from c2sflow.data.obs.labels import is_labelled
from c2sflow.data.obs.shard_columns import N_GENES
from c2sflow.sentences.groups.drawing import Grouping, draw_groups

TOGETHER = "together"  # column of what the cells of a group share


def named_kind(label_column: str | None, tissue_column: str | None) -> str:
    """What prompts for several cells name: their tissue, else their type, else ""."""
    if tissue_column is not None:
        return "tissue"
    return "" if label_column is None else "cell_type"


class TrainingGroups:
    """An endless row of groups: all groups of one drawing, then those of the next.

    Each drawing puts every cell into one group, with other cells than the one before it.

    Parameters
    ----------
    obs
        Of `c2sflow.training.cells.TrainingCells`, with the column that cells are grouped by.
    grouping
        Its seed is that of the first drawing.
    shared
        object (n_cells,): what the cells of a group share besides, such as their tissue; a cell
        with None is in no group.
    """

    def __init__(self, obs: pd.DataFrame, grouping: Grouping, shared: np.ndarray):
        values = obs[grouping.by]
        keys = values.astype(str) + "\0" + obs["organism"].astype(str) + "\0" + shared.astype(str)
        known = is_labelled(values).to_numpy() & pd.notna(shared)
        self._cells = obs[["cell_id", "sample"]].assign(
            **{N_GENES: obs["n_genes"], TOGETHER: keys.where(known, None)}
        )
        self._grouping = replace(grouping, by=TOGETHER)
        self._drawing, self._groups = 0, self._draw(0)
        self.n_groups = len(self._groups)

    def __getitem__(self, number: int) -> tuple[int, ...]:
        """Rows of the cells of one group, in the order of its prompt."""
        drawing, place = divmod(number, self.n_groups)
        if drawing != self._drawing:
            self._drawing, self._groups = drawing, self._draw(drawing)
        return self._groups[place]

    def _draw(self, drawing: int) -> list[tuple[int, ...]]:
        seed = self._grouping.seed + drawing
        groups = draw_groups(self._cells, replace(self._grouping, seed=seed))
        members = np.split(groups.order, groups.starts[1:]) if groups.n_groups else []
        order = np.random.default_rng((seed, drawing)).permutation(len(members))
        return [tuple(members[place].tolist()) for place in order]
