"""Which cells a model is trained on, which stop its training, and which it never sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.obs.labels import NO_LABELS, is_labelled
from c2sflow.data.obs.queries import query_columns, select_cells
from c2sflow.data.splits.few_shot import chances, few_groups, left_out
from c2sflow.data.splits.group_rule import BY_CELL, GroupRule, column_of
from c2sflow.data.splits.groups import TEST, TRAIN, UNUSED, VALIDATION
from c2sflow.data.splits.state_form import StateForm

COLUMN = "c2s_split"  # of obs
SPLITS = (TRAIN, VALIDATION, TEST)


@dataclass(frozen=True)
class Rule(GroupRule):
    """How cells are split: in groups, or as the user names it.

    Attributes
    ----------
    column
        Column of obs that holds the split already; then nothing else matters.
    hold_out
        pandas query that picks the cells for test; the others are for training, with a share of
        `validation` by cell. None: `held_out` decides.
    context_column
        Column of obs with the context (cell line, donor, cell type) of each cell; None: there is
        one context.
    partly
        Contexts, "" without a column, of which `hold_out` picks perturbed cells and no control
        cell: there the control cells are split by cell.
    state
        Splits of STATE's form; then only contexts and perturbations matter.
    few_shot
        Of the training cells, this share (below 1) or number of those of each perturbation and
        context is kept. None: all.
    few_ends
        For a number: see `c2sflow.data.splits.few_shot.left_out`.
    """

    column: str | None = None
    hold_out: str | None = None
    context_column: str | None = None
    partly: Sequence[str] = ()
    state: StateForm | None = None
    few_shot: float | None = None
    few_ends: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.state, Mapping):  # from JSON
            object.__setattr__(self, "state", StateForm(**self.state))

    def asdict(self) -> dict:
        """As keywords of this class, for JSON."""
        return asdict(self)

    @property
    def needed(self) -> list[str]:
        """The splits that must not be empty; a training goes to its end without validation."""
        own = self.column or (self.state and self.state.stops)
        may_lack = VALIDATION if own or not self.validation else None
        return [name for name in SPLITS if name != may_lack]

    @property
    def by_group(self) -> bool:
        """Whether `groups` must be filled first, by `with_groups`."""
        return not self.declared and self.by != BY_CELL

    @property
    def declared(self) -> bool:
        """Whether the user names the cells that are held out, and no chance."""
        return any(way is not None for way in (self.column, self.hold_out, self.state))

    @property
    def looked_at(self) -> list[str]:
        """Columns of obs that groups, perturbations, control cells and contexts are found by."""
        names = [self.context_column, self.perturbation_column, *self.columns]
        names += query_columns(self.control, "--control") if self.control else []
        return [name for name in dict.fromkeys(names) if name is not None]

    def contexts(self, obs: pd.DataFrame) -> pd.Series:
        """Context of each cell as text, None where it has none; "" for all without a column."""
        if self.context_column is None:
            return pd.Series("", obs.index, dtype=object)
        return _texts(column_of(obs, self.context_column, "--context_column"))

    def labels(self, obs: pd.DataFrame) -> pd.Series:
        """Perturbation of each cell as text, None where none is known."""
        if self.perturbation_column not in obs:
            return pd.Series(None, obs.index, dtype=object)
        return _texts(obs[self.perturbation_column])

    def pending(self, obs: pd.DataFrame) -> pd.Series:
        """Key of each cell whose split only all samples together decide; None for all others.

        `settled` takes what they hold, and `split_of_key` then gives the split.
        """
        if self.by_group:
            return self.group_labels(obs)
        keys = pd.Series(None, obs.index, dtype=object)
        if self.hold_out is None:
            return keys
        contexts, drawn = self.contexts(obs), self._by_cell(obs)
        open_ = self.controls(obs) & ~select_cells(obs, self.hold_out, "--hold_out")
        return keys.mask(open_ & contexts.notna().to_numpy(), contexts + "\n" + drawn)

    def settled(self, sizes: Mapping[str, int], picked: Mapping[tuple[str, bool], int]) -> Rule:
        """The rule with what depends on all samples.

        Parameters
        ----------
        sizes
            Cells of each key of `pending`.
        picked
            Cells that `hold_out` picks, by context and whether they are control cells.

        Raises
        ------
        UserError
            If there are too few groups.
        """
        if self.by_group:
            return self.with_groups(sizes)
        contexts = sorted({context for context, _ in picked})
        partly = [name for name in contexts if not picked.get((name, True), 0)]
        return replace(self, partly=partly)

    def split_of_key(self, key: str) -> str:
        """Split of the cells with a key of `pending`."""
        if self.by_group:
            return self.split_of(key)
        context, drawn = key.rsplit("\n", 1)
        return drawn if context in self.partly or drawn == VALIDATION else TRAIN

    def named_splits(self, obs: pd.DataFrame) -> np.ndarray:
        """Split of each cell as the user names it, without what chance decides."""
        if self.column is not None:
            return self._apply(obs)
        if self.state is not None:
            return self._by_state(self.state, obs, np.full(len(obs), TRAIN, dtype=object))
        chosen = select_cells(obs, self.hold_out, "--hold_out")
        return np.where(chosen, TEST, TRAIN).astype(object)

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
        found = self._apply(obs)
        if self.few_shot is not None:
            groups, draws = self.few_groups(obs), self.few_draws(obs)
            beyond = left_out(groups, draws, self.few_shot, self.few_ends)
            found[(found == TRAIN) & beyond] = UNUSED
        return found

    def few_groups(self, obs: pd.DataFrame) -> pd.Series:
        """What `few_shot` counts the cells by: see `c2sflow.data.splits.few_shot.few_groups`."""
        return few_groups(self.contexts(obs), self.labels(obs), self.controls(obs))

    def few_draws(self, obs: pd.DataFrame) -> np.ndarray:
        """What decides which cells `few_shot` keeps: float64 (n_cells,)."""
        return chances(obs, self.seed, "few shot")

    def _apply(self, obs: pd.DataFrame) -> np.ndarray:
        if self.column is not None:
            return _own_splits(column_of(obs, self.column, "--split_column"))
        if self.state is not None:
            return self._by_state(self.state, obs, self._by_cell(obs))
        if self.hold_out is not None:
            return self._by_query(obs)
        if self.by == BY_CELL:
            return self._by_cell(obs)
        labels = self.group_labels(obs)
        splits = labels.map({name: self.split_of(name) for name in labels.dropna().unique()})
        found = splits.where(labels.notna(), UNUSED).to_numpy(dtype=object, copy=True)
        if self._by_perturbation or self._by_pairs_of_perturbations:
            controls = self.controls(obs)
            found[controls] = self._by_cell(obs[controls])
        return found

    def _by_state(self, state: StateForm, obs: pd.DataFrame, drawn: np.ndarray) -> np.ndarray:
        """As the file lists them; what it leaves open as it is drawn."""
        texts = obs["sample"].astype(str), self.contexts(obs), self.labels(obs)
        return state.apply(*texts, self.controls(obs), drawn)

    def _by_query(self, obs: pd.DataFrame) -> np.ndarray:
        """Those that are picked, by cell the validation cells, and in some contexts controls."""
        chosen = select_cells(obs, self.hold_out, "--hold_out")
        drawn = self._by_cell(obs)
        found = np.where(drawn == VALIDATION, VALIDATION, TRAIN).astype(object)
        shared = self.controls(obs) & self.contexts(obs).isin(list(self.partly)).to_numpy()
        found[shared] = drawn[shared]
        found[chosen] = TEST
        return found

    def _by_cell(self, obs: pd.DataFrame) -> np.ndarray:
        chance = chances(obs, self.seed, "split")
        found = np.full(len(obs), TRAIN, dtype=object)
        found[chance < self.held_out + self.validation] = VALIDATION
        found[chance < self.held_out] = TEST
        return found


def _texts(column: pd.Series) -> pd.Series:
    """Labels without white space at their ends; None for what is no label."""
    return _stripped(column).astype(object).where(is_labelled(column), None)


def _stripped(column: pd.Series) -> pd.Series:
    """Values as text without white space at their ends, "" for missing ones."""
    return column.astype(object).where(column.notna(), "").astype(str).str.strip()


def _own_splits(labels: pd.Series) -> np.ndarray:
    """The user's own split; cells without one are not used."""
    texts = _stripped(labels)
    texts = texts.mask(texts.isin(NO_LABELS), UNUSED).to_numpy(dtype=object)
    if strange := sorted(set(texts) - {*SPLITS, UNUSED}):
        raise UserError(
            f"--split_column {labels.name}: holds {', '.join(map(repr, strange[:5]))}; use "
            "train, validation or test, or leave it empty for cells to leave out"
        )
    return texts
