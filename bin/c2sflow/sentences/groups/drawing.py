"""Which cells share a prompt: each cell in one group at most, whatever the order of the cells."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.data.obs.labels import is_labelled
from c2sflow.data.sampling import cell_draws
from c2sflow.data.splits.splits import COLUMN as SPLIT
from c2sflow.sentences.groups.neighbours import near_order

LOGGER = logging.getLogger(__name__)

# What cells may be grouped by, beside a column of obs.
SAMPLE, NEIGHBOURS = "sample", "neighbours"


@dataclass(frozen=True)
class Grouping:
    """How cells are grouped.

    Attributes
    ----------
    n_cells
        Cells of a group, at most.
    by
        Column of obs whose values cells of a group share; `SAMPLE` for any cells of a sample;
        `NEIGHBOURS` for cells of a sample that are near each other.
    across_samples
        Cells of several samples may share a group.
    seed
        Decides which cells come together, and their order.
    full
        Groups have `n_cells` cells, and of each kind perhaps a rest, as answers of several cells
        have them; else they differ by one cell at most.
    """

    n_cells: int
    by: str = SAMPLE
    across_samples: bool = False
    seed: int = 42
    full: bool = False


@dataclass
class Groups:
    """Groups of cells.

    Attributes
    ----------
    order
        int64: places of the cells that are in a group, a group after the other, each in the order
        of its prompt.
    sizes
        int64 (n_groups,): cells of each group.
    without_value
        Cells in no group, for their column has no value.
    without_genes
        Cells in no group, for their sentence is empty.
    """

    order: np.ndarray
    sizes: np.ndarray
    without_value: int = 0
    without_genes: int = 0

    @property
    def starts(self) -> np.ndarray:
        """int64 (n_groups,): place in `order` of the first cell of each group."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    def numbers(self) -> np.ndarray:
        """int64 (len(order),): the group of each cell in `order`."""
        return np.repeat(np.arange(self.n_groups), self.sizes)


def group_sizes(n_cells: int, most: int) -> np.ndarray:
    """int64: sizes of as few groups as hold so many cells; they differ by 1 at most.

    So no cell is left over, and no group is of one cell where others are full.
    """
    n_groups = -(-n_cells // most)
    return n_cells // max(1, n_groups) + (np.arange(n_groups) < n_cells % max(1, n_groups))


def full_sizes(n_cells: int, most: int) -> np.ndarray:
    """int64: sizes of full groups, and of the rest."""
    starts = np.arange(0, n_cells, most)
    return np.minimum(most, n_cells - starts)


def draw_groups(
    cells: pd.DataFrame, grouping: Grouping, points: np.ndarray | None = None
) -> Groups:
    """Draw the groups.

    Within a sample (unless `across_samples`), a value of the column and a split of a training,
    cells are put in the order of a hash of seed, sample and cell_id, or of their places among their
    neighbours, and cut into groups. So neither the order of the cells nor the shards matter.

    Parameters
    ----------
    cells
        cell_id, sample, n_sentence_genes, the column to group by and, of a run that trains,
        c2s_split.
    grouping
        How.
    points
        float (n_cells, n_dimensions): where the cells are, for `NEIGHBOURS`.
    """
    labels = cells[SAMPLE if grouping.by == NEIGHBOURS else grouping.by]
    valued = is_labelled(labels).to_numpy()
    with_genes = (cells["n_sentence_genes"] > 0).to_numpy()
    usable = np.flatnonzero(valued & with_genes)
    draws = np.empty(len(cells), dtype=np.int64)
    keys = cell_draws(cells.iloc[usable], grouping.seed)
    draws[usable[sorted(range(len(keys)), key=keys.__getitem__)]] = np.arange(len(usable))
    order, sizes = [], []
    for rows in _strata(cells, labels, usable, grouping.across_samples):
        sizes_of = full_sizes if grouping.full else group_sizes
        own = sizes_of(len(rows), grouping.n_cells)
        if points is not None:
            ranked = rows[near_order(points[rows], own, draws[rows])]
            groups = np.repeat(np.arange(len(own)), own)
            ranked = ranked[np.lexsort((draws[ranked], groups))]
        else:
            ranked = rows[np.argsort(draws[rows])]
        order.append(ranked)
        sizes.append(own)
    empty = np.empty(0, dtype=np.int64)
    return Groups(
        np.concatenate([empty, *order]),
        np.concatenate([empty, *sizes]),
        without_value=int((~valued).sum()),
        without_genes=int((valued & ~with_genes).sum()),
    )


def _strata(
    cells: pd.DataFrame, labels: pd.Series, usable: np.ndarray, across: bool
) -> Iterator[np.ndarray]:
    """Places of the cells that may share a group, by the names of sample, value and split."""
    keys = pd.DataFrame({"label": labels.iloc[usable].astype(str).to_numpy()})
    if SPLIT in cells:  # a group of trained and held-out cells would be neither
        keys["split"] = cells[SPLIT].iloc[usable].astype(str).to_numpy()
    if not across:
        keys.insert(0, "sample", cells["sample"].iloc[usable].astype(str).to_numpy())
    for _, own in keys.groupby(list(keys), sort=True):
        yield usable[own.index.to_numpy()]


def describe_groups(groups: Groups, grouping: Grouping) -> tuple[dict, list[str]]:
    """Figures of the groups, and what a user should know of them, a line each.

    Returns
    -------
    n_groups, n_grouped (cells), sizes (cells of a group: number of groups), without_value,
    without_genes; and the lines.
    """
    sizes = {int(size): n for size, n in sorted(Counter(groups.sizes.tolist()).items())}
    single = sizes.get(1, 0)
    lines = []
    if groups.without_value:
        lines.append(
            f"{groups.without_value} cells have no value in --group_by {grouping.by}: they are in "
            "no group"
        )
    if groups.without_genes:
        lines.append(f"{groups.without_genes} cells without genes are in no group")
    if single:
        lines.append(
            f"{single} groups are of one cell: nothing else shares its --group_by {grouping.by}"
        )
    figures = {
        "n_groups": groups.n_groups,
        "n_grouped": len(groups.order),
        "sizes": sizes,
        "without_value": groups.without_value,
        "without_genes": groups.without_genes,
    }
    return figures, lines
