"""Groups of cells that stay whole: their labels, and the split of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.obs.held_values import offer_columns
from c2sflow.data.obs.labels import NO_LABELS, is_control, is_labelled, is_perturbed
from c2sflow.data.obs.queries import select_cells
from c2sflow.data.splits.groups import (
    TEST,
    TRAIN,
    VALIDATION,
    assign_groups,
    clean_label,
    contained_in,
    dose_series,
    groups_containing,
    parts_of,
    same_groups,
    without_number,
)

BY_CELL = "cell"
BETWEEN = " × "  # between the values of the columns of a group


@dataclass(frozen=True)
class GroupRule:
    """How groups are split.

    Attributes
    ----------
    by
        "cell": each for itself, by a hash of seed, sample and name. Else a column of obs, whose
        groups stay whole, or several with commas between: the groups are the pairs of their values.
    held_out, validation
        Shares of the cells for test and validation.
    seed
        Decides which.
    perturbation_column, control
        If the groups are perturbations, the control cells, which belong to all of them, are split
        by cell: those that the query selects, and those labelled as control.
    combinations
        If the groups are perturbations, a combination that contains one that is held out is held
        out too.
    groups
        Split of each group, of those that are not for training.
    """

    by: str = BY_CELL
    held_out: float = 0.2
    validation: float = 0.05
    seed: int = 42
    perturbation_column: str | None = None
    control: str | None = None
    combinations: bool = True
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Columns of obs of which cells of a group share the value."""
        return [] if self.by == BY_CELL else [name.strip() for name in self.by.split(",")]

    def group_labels(self, obs: pd.DataFrame) -> pd.Series:
        """Label of each cell's group, as text; None for cells of none, and for control cells.

        Labels of one group can differ: see `c2sflow.data.splits.groups.same_groups`.

        Raises
        ------
        UserError
            If obs lacks the column.
        """
        if len(self.columns) > 1 and self.by not in obs:
            return self._pairs(obs)
        labels = column_of(obs, self.by, "--split_by")
        named = labels.notna() & ~labels.astype(str).str.strip().isin(NO_LABELS)
        if self._by_perturbation:
            named = is_perturbed(labels) & ~self.controls(obs)
        texts = labels.astype(str)
        clean = {text: clean_label(text) for text in texts.unique()}
        return texts.map(clean).astype(object).where(named, None)

    def _pairs(self, obs: pd.DataFrame) -> pd.Series:
        """Values of several columns; of a perturbation, whatever the spelling and the dose."""
        named = ~self.controls(obs) if self._by_pairs_of_perturbations else np.ones(len(obs), bool)
        texts = []
        for name in self.columns:
            column = column_of(obs, name, "--split_by")
            named &= is_labelled(column).to_numpy()
            own = name == self.perturbation_column
            clean = {
                value: "+".join(sorted(parts_of(value))) if own else clean_label(value)
                for value in column.astype(str).unique()
            }
            texts.append(column.astype(str).map(clean).astype(object))
        joined = texts[0].str.cat(texts[1:], sep=BETWEEN)
        return joined.astype(object).where(named, None)

    @property
    def _by_perturbation(self) -> bool:
        return self.by == self.perturbation_column

    @property
    def _by_pairs_of_perturbations(self) -> bool:
        return len(self.columns) > 1 and self.perturbation_column in self.columns

    def controls(self, obs: pd.DataFrame) -> np.ndarray:
        """Control cells, which every perturbation is compared with: bool (n_cells,)."""
        controls = np.zeros(len(obs), dtype=bool)
        if self.perturbation_column in obs:
            controls |= is_control(obs[self.perturbation_column]).to_numpy()
            if self.control is not None:
                controls |= select_cells(obs, self.control, "--control")
        return controls

    def with_groups(self, sizes: Mapping[str, int]) -> Self:
        """The rule with a split for each of these groups (label to number of cells).

        Raises
        ------
        UserError
            If there are too few groups.
        """
        names = same_groups(sizes, self._by_perturbation)
        whole: Counter[str] = Counter()
        for label, size in sizes.items():
            whole[names[label]] += size
        containing = None
        if self._by_perturbation and self.combinations:
            containing = groups_containing(whole)
        splits = assign_groups(whole, self.held_out, self.validation, self.seed, containing)
        rare = {name: split for name, split in splits.items() if split != TRAIN}
        return replace(self, groups=dict(sorted(rare.items())))

    def split_of(self, label: str) -> str:
        """Split of the cells with a label; of test and validation, the first.

        A group that was not known when the others were assigned is for training like most are.
        """
        if not self._by_perturbation:
            return self._known.get(self._parts(label), TRAIN)
        if not self.combinations:
            parts = parts_of(label)
            bare = frozenset(without_number(part)[0] or part for part in parts)
            return self._known.get(parts, self._known.get(bare, TRAIN))
        held = contained_in(label)
        found = {self._known.get(frozenset({part})) for part in held}
        found |= {split for parts, split in self._together if parts <= held}
        return next((split for split in (TEST, VALIDATION) if split in found), TRAIN)

    def doubts(self, labels: Iterable[str]) -> list[str]:
        """What labels of perturbations leave open, in words."""
        if not self._by_perturbation:
            return []
        parts = {part for label in labels for part in parts_of(label)}
        return [
            f"--split_by {self.by}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''} differ "
            "in a last number only and are taken as different: if they are doses, guides or "
            f"replicates of {base!r}, split by a column that names it alone"
            for base, names in dose_series(parts)[1].items()
        ]

    @cached_property
    def _known(self) -> dict[frozenset[str], str]:
        """Split of each group that is not for training, by its parts."""
        return {self._parts(name): split for name, split in self.groups.items()}

    def _parts(self, label: str) -> frozenset[str]:
        """What a label is made of; of what is no perturbation, the name in any case."""
        return parts_of(label) if self._by_perturbation else frozenset({label.casefold()})

    @cached_property
    def _together(self) -> list[tuple[frozenset[str], str]]:
        """Those of several parts."""
        return [(parts, split) for parts, split in self._known.items() if len(parts) > 1]


def column_of(obs: pd.DataFrame, name: str, option: str) -> pd.Series:
    """A column of obs, which an option names.

    Raises
    ------
    UserError
        If there is none.
    """
    if name not in obs:
        raise UserError(f"{option} {name}: obs has no such column {offer_columns(obs, name)}")
    return obs[name]
