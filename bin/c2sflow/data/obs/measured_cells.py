"""Which cells of a run were measured under a perturbation, and which are its control cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.data.obs.figure_cells import FigureCells
from c2sflow.data.obs.labels import is_control, is_perturbed
from c2sflow.data.obs.queries import select_cells
from c2sflow.data.sampling import cell_draws, equal_shares

CONTROL = ""  # the name of the group of control cells; no label is empty


def draw(cells: pd.DataFrame, rows: np.ndarray, most: int, seed: int, *more: str) -> np.ndarray:
    """At most so many of the rows, in an order that a hash of seed and cell decides.

    Parameters
    ----------
    cells
        sample and cell_id of every cell.
    rows
        Positions to choose from.
    """
    draws = cell_draws(cells.iloc[rows], seed, "evaluation", *more)
    return rows[sorted(range(len(rows)), key=draws.__getitem__)[:most]]


@dataclass
class Measured:
    """Rows of the run's cells, in drawn order.

    Attributes
    ----------
    labels
        str (n_cells,): what each cell was measured under, "" for all others.
    training
        bool (n_cells,): cells that the model was trained on.
    groups
        Rows of the other cells by label, those of the control cells by `CONTROL`.
    trained
        The same of the training cells that the model saw.
    """

    labels: np.ndarray
    training: np.ndarray
    groups: dict[str, np.ndarray]
    trained: dict[str, np.ndarray]


def find_measured(
    obs: pd.DataFrame, column: str, control: str | None, usable: FigureCells, most: int, seed: int
) -> Measured:
    """Find the control and the measured cells, and draw some of each.

    Parameters
    ----------
    obs
        sample, cell_id and the columns below.
    column
        Column of obs with the perturbation under which a cell was measured.
    control
        pandas query that picks control cells; those labelled as control are control cells too.
    usable
        Of `column`, from `c2sflow.data.obs.figure_cells.figure_cells`.
    most
        Cells of all groups together, and of all training groups together.
    """
    untreated = is_control(obs[column]).to_numpy(copy=True)
    perturbed = is_perturbed(obs[column]).to_numpy(copy=True) & usable.labelled
    if control is not None:
        untreated |= select_cells(obs, control, "--control")
        perturbed &= ~untreated  # whatever a control cell is labelled
    training = usable.trained
    labels = np.where(perturbed, usable.labels, CONTROL)
    known = untreated | perturbed

    def groups(chosen: np.ndarray) -> dict[str, np.ndarray]:
        found = {CONTROL: np.flatnonzero(chosen & untreated)}
        for name in sorted(set(labels[chosen & perturbed])):
            found[name] = np.flatnonzero(chosen & (labels == name))
        shares = equal_shares(most, {name: len(rows) for name, rows in found.items()})
        return {name: draw(obs, rows, shares[name], seed) for name, rows in found.items()}

    return Measured(labels, training, groups(known & ~training), groups(known & usable.learned))


def labels_of_conditions(
    answers: pd.DataFrame, known: Mapping[str, np.ndarray]
) -> dict[str, str | None]:
    """Label of the cells measured under each condition: its own name, or the perturbation's.

    Parameters
    ----------
    answers
        condition and perturbation of each.
    known
        Rows of the measured cells by label.

    Returns
    -------
    None for a condition that no cell was measured under.
    """
    pairs = answers[["condition", "perturbation"]].astype(str).drop_duplicates("condition")
    return {
        condition: next((n for n in (condition, name) if n in known and len(known[n])), None)
        for condition, name in pairs.itertuples(index=False)
    }
