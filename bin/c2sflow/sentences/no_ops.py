"""No-ops: predicted with the perturbations, to separate their effects from those of predicting.

A predicted sentence differs from the cell's own whatever the perturbation: the most likely answer
is compared with one noisy cell. So each cell that is perturbed also gets an answer, decoded in the
same way, to a prompt that asks for nothing to change: the vehicle, or for a conversion the cell's
own type. Effects are differences from that answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.data.obs.labels import is_control, is_labelled, where_known
from c2sflow.data.obs.queries import select_cells
from c2sflow.inputs.perturbations import Treatment
from c2sflow.sentences.prompts import template_fields

AUTO, NONE = "auto", "none"  # values of --no_op that are no text
NO_OP = "c2s_no_op"  # column: whether an answer is one to a no-op
MEASURED = "c2s_measured_control"  # column: whether a row is no answer but a control cell
COMPARED_WITH = "c2s_compared_with"  # column: the condition of the no-op of a prediction
OWN_SENTENCE = "own sentence"  # what predictions without a no-op are compared with
PREFIX = "no-op: "  # of the names of these conditions
CONVERSION = "conversion to "  # perturbations of the task that ends in a cell type
UNNAMED = "control"  # where neither the file nor the user names the control


@dataclass(frozen=True)
class NoOps:
    """The text for {perturbation} where nothing is to change.

    Attributes
    ----------
    perturbation
        Text for perturbations; it may have fields of obs. None: none.
    conversion
        The same for conversions to a cell type.
    fields
        Of the perturbation prompt: what it takes from the table of perturbations, the no-op's
        prompt has too.
    """

    perturbation: str | None
    conversion: str | None
    fields: frozenset[str] = frozenset()

    def no_op_for(self, treatment: Treatment) -> Treatment | None:
        """The no-op of a treatment: shared by all whose prompts differ in name and dose only."""
        text = self.conversion if is_conversion(treatment.perturbation) else self.perturbation
        if text is None:
            return None
        columns = {
            name: value
            for name, value in treatment.columns.items()
            if name == "time" or name in self.fields
        }
        condition = ", ".join([PREFIX + _readable(text), *filter(None, columns.values())])
        return Treatment(text, condition, "--no_op", columns=columns)

    def words(self) -> str:
        """What is asked, for the log."""
        texts = dict.fromkeys(text for text in (self.perturbation, self.conversion) if text)
        return " or ".join(repr(_readable(text)) for text in texts)


def is_conversion(perturbation: str) -> bool:
    """Whether a perturbation is the task that ends in a cell type."""
    return perturbation.lower().startswith(CONVERSION)


def _readable(text: str) -> str:
    """A text whose fields are words: "conversion to own cell_type"."""
    for name in template_fields(text):
        text = text.replace(f"{{{name}}}", f"own {name}")
    return text.replace("{{", "{").replace("}}", "}")


def find_no_ops(
    given: str | None,
    cells: pd.DataFrame,
    *,
    perturbations: Iterable[str] = (),
    control: str | None = None,
    perturbation_column: str | None = None,
    label_column: str | None = None,
    fields: Collection[str] = (),
) -> NoOps | None:
    """How the no-ops of a run are called.

    Parameters
    ----------
    given
        `AUTO`, `NONE` (or None), or the text itself, for all treatments.
    cells
        obs of all cells.
    perturbations
        Names of those to predict; a usual name of controls among them is the no-op.
    control
        pandas query that picks the control cells; None picks all cells.
    perturbation_column
        Column of obs with the perturbations. Its label of the control cells is the
        no-op; so is a usual name of controls in a column that the query names.
    label_column
        Column of obs with the cells' types, for conversions.
    fields
        See `NoOps`.

    Returns
    -------
    None if there are to be none.
    """
    if given in (None, NONE):
        return None
    if given != AUTO:
        return NoOps(given, given, frozenset(fields))
    own = None if label_column is None else f"{CONVERSION}{{{label_column}}}"
    names = pd.Series(list(perturbations), dtype=object)
    name = _commonest(names[is_control(names)]) or _control_name(
        cells, control, perturbation_column
    )
    name = name or UNNAMED
    name = name.replace("{", "{{").replace("}", "}}")
    return NoOps(name, own, frozenset(fields))


def _control_name(cells: pd.DataFrame, control: str | None, column: str | None) -> str | None:
    controls = cells[select_cells(cells, control, "--control")]
    if column is not None:
        labels = controls[column][is_labelled(controls[column])].astype(str).str.strip()
        if found := _commonest(labels[is_control(labels)]):
            return found
        if control is not None and str(column) in control and labels.nunique() == 1:
            return labels.iloc[0]  # --control picks it by this very label
    named = [name for name in cells if control is not None and str(name) in control]
    for name in named:
        if found := _commonest(controls[name][is_control(controls[name])].astype(str).str.strip()):
            return found
    return None


def _commonest(labels: pd.Series) -> str | None:
    return None if labels.empty else labels.mode().iloc[0]


def filled(text: str, cells: pd.DataFrame) -> np.ndarray:
    """The text of each cell, object (n_cells,); None where a field has no value."""
    fields = template_fields(text)
    texts = [text.format_map(row) for row in cells[fields].astype(object).to_dict("records")]
    texts = texts if fields else [text.format()] * len(cells)
    known = np.ones(len(cells), dtype=bool)
    for name in fields:
        known &= is_labelled(cells[name]).to_numpy()
    return where_known(known, np.array(texts, dtype=object))


def predicted_only(answers: pd.DataFrame) -> pd.DataFrame:
    """The answers that are predictions: no-ops and control cells are there to compare with."""
    for name in (NO_OP, MEASURED):
        if name in answers:
            answers = answers[~answers[name].astype(bool)]
    return answers


def with_no_op(columns: Iterable[str], known: Collection[str]) -> list[str]:
    """Columns to read of a file that has the `known` ones, with those of rows to compare with."""
    return [*columns, *(name for name in (NO_OP, COMPARED_WITH, MEASURED) if name in known)]
