"""Which cells a figure may use: the one place that decides it, for every table, tile and picture.

A cell that the model was trained on is no test of it, and a cell whose label is "unknown" has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from c2sflow.data.obs.labels import is_labelled, where_known
from c2sflow.data.obs.queries import select_cells
from c2sflow.data.obs.query_text import parse_query

OPTION = "--training_cells"
SPLIT = "c2s_split"
NOT_TEST = f'{SPLIT} != "test"'  # what a run that trains gives for the option
UNKNOWN_TRAINING = (
    f"Which cells the model was trained on is unknown ({OPTION}): metrics may include cells "
    "it has seen, and then do not show its performance on new cells"
)
# How annotation spells an unknown label, in any case. See also `c2sflow.data.obs.labels.NO_LABELS`.
UNKNOWN_LABELS = frozenset(
    {"unknown", "unassigned", "not assigned", "unlabelled", "unlabeled", "unclassified"}
    | {"unannotated", "undetermined", "undefined", "none", "null", "nan", "n/a", "?", "-"}
)


@dataclass(frozen=True)
class FigureCells:
    """What figures may use of the cells of a run.

    Attributes
    ----------
    trained
        bool (n_cells,): cells that the model was trained on; none where that is not known.
    known
        Whether it is known which these are.
    labels
        object (n_cells,): label of each cell, as text without spaces around it; None where it has
        none, and for all without a label column.
    unused
        bool (n_cells,): cells that the run's own training left out, and no figure is of; None for
        none.
    """

    trained: np.ndarray
    known: bool
    labels: np.ndarray
    unused: np.ndarray | None = None

    @property
    def learned(self) -> np.ndarray:
        """Of `trained`, the cells that the model saw; bool (n_cells,)."""
        return self.trained if self.unused is None else self.trained & ~self.unused

    @cached_property
    def held_out(self) -> np.ndarray:
        """Cells that the model is not known to be trained on; bool (n_cells,)."""
        return ~self.trained

    @cached_property
    def labelled(self) -> np.ndarray:
        """Cells that have a label, training cells among them; bool (n_cells,)."""
        return np.array([label is not None for label in self.labels], dtype=bool)

    @cached_property
    def judged(self) -> np.ndarray:
        """Labelled cells that the model was not trained on; bool (n_cells,)."""
        return self.held_out & self.labelled

    @cached_property
    def judged_labels(self) -> np.ndarray:
        """Labels of the cells that are `judged`, None for all others; object (n_cells,)."""
        return where_known(self.judged, self.labels)


def figure_cells(
    obs: pd.DataFrame, training_cells: str | None, label_column: str | None = None
) -> FigureCells:
    """Decide which cells figures may use.

    Parameters
    ----------
    obs
        Annotation of the cells, with what `needed_columns` names.
    training_cells
        pandas query that picks the cells that the model was trained on; None: not known.
    label_column
        Column of obs with what a figure needs of a cell, such as its type.

    Raises
    ------
    UserError
        If the query is malformed or names no column of obs.
    """
    known = training_cells is not None
    trained = select_cells(obs, training_cells, OPTION) if known else np.zeros(len(obs), dtype=bool)
    labels = np.full(len(obs), None, dtype=object)
    if label_column is not None:
        labels = known_labels(obs[label_column])
    own = training_cells == NOT_TEST and SPLIT in obs
    return FigureCells(trained, known, labels, (obs[SPLIT] == "unused").to_numpy() if own else None)


def known_labels(labels: pd.Series) -> np.ndarray:
    """Labels as text without spaces around them, None where there is none; object (n_cells,)."""
    texts = labels.astype(object).where(labels.notna(), "").astype(str).str.strip()
    known = is_labelled(labels) & ~texts.str.lower().isin(UNKNOWN_LABELS)
    return texts.astype(object).where(known, None).to_numpy(dtype=object)


def needed_columns(training_cells: str | None, label_column: str | None = None) -> list[str]:
    """Columns of obs that `figure_cells` reads."""
    names: Iterable[str] = ()
    if training_cells is not None:
        names = parse_query(training_cells, f"{OPTION} {training_cells!r}").names.values()
    return list(dict.fromkeys([*names, *filter(None, [label_column])]))
