"""Which cells a model is trained on, which stop its training, and which it never sees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pandas as pd

from c2sflow.draws import cell_draws
from c2sflow.errors import UserError
from c2sflow.obs_labels import NO_LABELS, is_control, is_perturbed
from c2sflow.obs_queries import select_cells

COLUMN = "c2s_split"  # of obs
TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
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
        """Group of each cell, as text; None for cells of none, and for control cells.

        Raises
        ------
        UserError
            If obs lacks the column.
        """
        labels = _column(obs, self.by, "--split_by")
        named = labels.notna() & ~labels.astype(str).str.strip().isin(NO_LABELS)
        if self.by == self.perturbation_column:
            named = is_perturbed(labels) & ~self._controls(obs)
        return labels.astype(str).where(named, None)

    def _controls(self, obs: pd.DataFrame) -> np.ndarray:
        """Cells that the groups have in common."""
        if self.by != self.perturbation_column:
            return np.zeros(len(obs), dtype=bool)
        controls = is_control(obs[self.by]).to_numpy(copy=True)
        if self.control is not None:
            controls |= select_cells(obs, self.control, "--control")
        return controls

    def with_groups(self, sizes: Mapping[str, int]) -> Rule:
        """The rule with a split for each of these groups (name to number of cells).

        Raises
        ------
        UserError
            If there are too few groups.
        """
        splits = assign_groups(sizes, self.held_out, self.validation, self.seed)
        rare = {name: split for name, split in splits.items() if split != TRAIN}
        return replace(self, groups=dict(sorted(rare.items())))

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
        # A group that was not known when the others were assigned is for training like most are.
        splits = labels.map(lambda name: self.groups.get(name, TRAIN), na_action="ignore")
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


def assign_groups(
    sizes: Mapping[str, int], held_out: float, validation: float, seed: int
) -> dict[str, str]:
    """Split of each group, so that the shares of the cells come near to those asked for.

    The largest group is for training. The others are gone through in an order drawn by seed and
    name; each that brings its split nearer to its share is taken, and if none does, the smallest.

    Parameters
    ----------
    sizes
        Cells of each group.
    held_out, validation
        Shares of the cells for test and validation; of 0, no group is taken.
    seed
        Decides which.

    Raises
    ------
    UserError
        If there are fewer groups than splits.
    """
    wanted = {TEST: held_out, VALIDATION: validation}
    wanted = {name: share * sum(sizes.values()) for name, share in wanted.items() if share > 0}
    if len(sizes) <= len(wanted):
        names = ", ".join([TRAIN, *reversed(wanted)])
        listed = ", ".join(sorted(sizes)[:10]) or "none"
        raise UserError(
            f"{len(sizes)} groups ({listed}) for {len(wanted) + 1} splits ({names}): take a column "
            "with more, or --split_by cell, or say the split yourself in a --split_column"
        )
    order = sorted(sizes, key=lambda name: (_draw(name, seed), name))
    largest = max(order, key=sizes.__getitem__)
    free = [name for name in order if name != largest]
    splits = dict.fromkeys(order, TRAIN)
    for left, (split, target) in zip(range(len(wanted) - 1, -1, -1), wanted.items(), strict=True):
        for name in _nearest(free, sizes, target, most=len(free) - left):
            splits[name] = split
            free.remove(name)
    return splits


def _nearest(free: list[str], sizes: Mapping[str, int], target: float, most: int) -> list[str]:
    """Groups of `free` with about `target` cells together: at least one, at most `most`."""
    taken: list[str] = []
    size = 0
    for name in free:
        if len(taken) < most and abs(size + sizes[name] - target) < abs(size - target):
            taken.append(name)
            size += sizes[name]
    return taken or [min(free, key=sizes.__getitem__)]


def _draw(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0split\0{name}".encode(), digest_size=8).digest()


def _column(obs: pd.DataFrame, name: str, option: str) -> pd.Series:
    if name not in obs:
        some = ", ".join(map(str, obs.columns[:10])) or "none"
        raise UserError(f"{option} {name}: obs has no such column (has {some})")
    return obs[name]


def _own_splits(labels: pd.Series) -> np.ndarray:
    """The user's own split; cells without one are not used."""
    texts = labels.astype(object).where(labels.notna(), "").astype(str).str.strip()
    texts = texts.mask(texts.isin(NO_LABELS), UNUSED).to_numpy(dtype=object)
    if strange := sorted(set(texts) - {*SPLITS, UNUSED}):
        raise UserError(
            f"--split_column {labels.name}: holds {', '.join(map(repr, strange[:5]))}; it must say "
            "train, validation or test, or nothing for cells to leave out"
        )
    return texts
