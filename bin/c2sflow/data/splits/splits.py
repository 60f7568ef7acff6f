"""Which cells a model is trained on, which stop its training, and which it never sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.obs.held_values import offer_columns
from c2sflow.data.obs.labels import NO_LABELS, is_control, is_perturbed
from c2sflow.data.obs.queries import select_cells
from c2sflow.data.sampling import cell_draws
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

COLUMN = "c2s_split"  # of obs
SPLITS = (TRAIN, VALIDATION, TEST)
UNUSED = "unused"  # of no group: it could be of one that is held out
BY_CELL = "cell"


@dataclass(frozen=True)
class Rule:
    """How cells are split.

    Attributes
    ----------
    by
        "cell": each for itself, by a hash of seed, sample and name. Else a column of obs, whose
        groups stay whole.
    column
        Column of obs that holds the split already; then nothing else matters.
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
    column: str | None = None
    held_out: float = 0.2
    validation: float = 0.05
    seed: int = 42
    perturbation_column: str | None = None
    control: str | None = None
    combinations: bool = True
    groups: Mapping[str, str] = field(default_factory=dict)

    def asdict(self) -> dict:
        """As keywords of this class, for JSON."""
        return asdict(self)

    @property
    def needed(self) -> list[str]:
        """The splits that must not be empty; a training goes to its end without validation."""
        may_lack = VALIDATION if self.column or not self.validation else None
        return [name for name in SPLITS if name != may_lack]

    @property
    def by_group(self) -> bool:
        """Whether `groups` must be filled first, by `with_groups`."""
        return self.column is None and self.by != BY_CELL

    def group_labels(self, obs: pd.DataFrame) -> pd.Series:
        """Label of each cell's group, as text; None for cells of none, and for control cells.

        Labels of one group can differ: see `c2sflow.data.splits.groups.same_groups`.

        Raises
        ------
        UserError
            If obs lacks the column.
        """
        labels = _column(obs, self.by, "--split_by")
        named = labels.notna() & ~labels.astype(str).str.strip().isin(NO_LABELS)
        if self._by_perturbation:
            named = is_perturbed(labels) & ~self._controls(obs)
        texts = labels.astype(str)
        clean = {text: clean_label(text) for text in texts.unique()}
        return texts.map(clean).astype(object).where(named, None)

    @property
    def _by_perturbation(self) -> bool:
        return self.by == self.perturbation_column

    def _controls(self, obs: pd.DataFrame) -> np.ndarray:
        """Cells that the groups have in common."""
        if not self._by_perturbation:
            return np.zeros(len(obs), dtype=bool)
        controls = is_control(obs[self.by]).to_numpy(copy=True)
        if self.control is not None:
            controls |= select_cells(obs, self.control, "--control")
        return controls

    def with_groups(self, sizes: Mapping[str, int]) -> Rule:
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

    def apply(self, obs: pd.DataFrame) -> np.ndarray:
        """Split of each cell: train, validation, test or unused.

        Parameters
        ----------
        obs
            Of one sample, with the column sample; its index holds the names of the cells.

        Raises
        ------
        UserError
            If obs lacks a column, or `column` holds something else.
        """
        if self.column is not None:
            return _own_splits(_column(obs, self.column, "--split_column"))
        if self.by == BY_CELL:
            return self._by_cell(obs)
        labels = self.group_labels(obs)
        splits = labels.map({name: self.split_of(name) for name in labels.dropna().unique()})
        found = splits.where(labels.notna(), UNUSED).to_numpy(dtype=object, copy=True)
        controls = self._controls(obs)
        if controls.any():
            found[controls] = self._by_cell(obs[controls])
        return found

    def _by_cell(self, obs: pd.DataFrame) -> np.ndarray:
        cells = pd.DataFrame({"sample": obs["sample"].astype(str), "cell_id": obs.index})
        draws = cell_draws(cells, self.seed, "split")
        chance = np.array([int.from_bytes(key[:8], "big") for key in draws], dtype=float) / 2**64
        found = np.full(len(obs), TRAIN, dtype=object)
        found[chance < self.held_out + self.validation] = VALIDATION
        found[chance < self.held_out] = TEST
        return found


def _column(obs: pd.DataFrame, name: str, option: str) -> pd.Series:
    if name not in obs:
        raise UserError(f"{option} {name}: obs has no such column {offer_columns(obs, name)}")
    return obs[name]


def _own_splits(labels: pd.Series) -> np.ndarray:
    """The user's own split; cells without one are not used."""
    texts = labels.astype(object).where(labels.notna(), "").astype(str).str.strip()
    texts = texts.mask(texts.isin(NO_LABELS), UNUSED).to_numpy(dtype=object)
    if strange := sorted(set(texts) - {*SPLITS, UNUSED}):
        raise UserError(
            f"--split_column {labels.name}: holds {', '.join(map(repr, strange[:5]))}; use "
            "train, validation or test, or leave it empty for cells to leave out"
        )
    return texts
