"""Which cells of c2s.h5ad and c2s_perturbed.h5ad a benchmark compares."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from anndata.io import read_elem

from c2sflow.common.errors import UserError
from c2sflow.common.opened import open_h5, open_result, reading
from c2sflow.data.obs.figure_cells import figure_cells
from c2sflow.data.obs.measured_cells import CONTROL, find_measured, labels_of_conditions
from c2sflow.data.own_columns import own_name
from c2sflow.sentences.no_ops import predicted_only

LOGGER = logging.getLogger(__name__)
SOURCE, CONDITION = own_name("source_cell"), own_name("condition")
PERTURBATION = own_name("perturbation")
ORGANISM = own_name("organism")


@dataclass(frozen=True)
class Settings:
    """What decides which cells are compared: parameters of the workflow of these names."""

    measured_column: str | None = None
    control: str | None = None
    training_cells: str | None = None
    evaluation_cells: int = 10_000
    seed: int = 42


@dataclass
class Compared:
    """Rows of both files.

    Attributes
    ----------
    control
        Control cells, rows of c2s.h5ad.
    measured
        Cells measured under each condition, rows of c2s.h5ad; a condition that no cell was measured
        under is missing.
    predicted, sources
        Predicted cells of each condition, rows of c2s_perturbed.h5ad, and the cell that each
        starts from, a row of c2s.h5ad.
    perturbations
        Of each condition, without dose and time.
    cell_names, predicted_names
        Names of all cells of either file.
    organism
        Most frequent of c2s.h5ad.
    """

    control: np.ndarray
    measured: dict[str, np.ndarray]
    predicted: dict[str, np.ndarray]
    sources: dict[str, np.ndarray]
    perturbations: dict[str, str]
    cell_names: pd.Index
    predicted_names: pd.Index
    organism: str

    def of_both(self) -> list[str]:
        """Conditions that are predicted and measured, by name."""
        return [name for name in self.predicted if name in self.measured]


def read_compared(
    cells: Path, perturbed: Path, settings: Settings, most: int | None = None
) -> Compared:
    """Find the cells.

    Parameters
    ----------
    cells, perturbed
        c2s.h5ad and c2s_perturbed.h5ad.
    most
        At most so many measured cells, control cells among them, and as many predicted ones; None:
        all.

    Raises
    ------
    UserError
        If a query names no column, or no predicted cell starts from a control cell.
    """
    with reading(cells), open_result(cells) as file:
        obs = read_elem(file["obs"])
    with open_h5(perturbed) as file:
        answers = read_elem(file["obs"])
    names_of_answers = answers.index
    answers = answers.assign(row=np.arange(len(answers)))
    answers = predicted_only(answers)
    sources = obs.index.get_indexer(answers[SOURCE].astype(str))
    groups, labels = _groups(obs, settings, len(obs) if most is None else most)
    if labels is None:
        groups = {CONTROL: np.unique(sources)}
    else:
        kept = labels[sources] == CONTROL
        answers, sources = answers[kept], sources[kept]
    if not len(answers) or not len(groups[CONTROL]):
        raise UserError(
            "no predicted cell starts from a control cell: name these with --control; predictions "
            "of a perturbation from cells that have it already cannot enter a benchmark"
        )
    known = labels_of_conditions(
        pd.DataFrame({"condition": answers[CONDITION], "perturbation": answers[PERTURBATION]}),
        {name: rows for name, rows in groups.items() if name != CONTROL},
    )
    conditions = answers[CONDITION].astype(str).to_numpy()
    names = sorted(known)
    each = None if most is None else max(1, most // len(names))
    places = {name: np.flatnonzero(conditions == name)[:each] for name in names}
    rows = answers["row"].to_numpy()
    perturbations = answers[PERTURBATION].astype(str).to_numpy()
    organisms = obs[ORGANISM].astype(str) if ORGANISM in obs else pd.Series(["human"])
    return Compared(
        control=np.sort(groups[CONTROL]),
        measured={name: np.sort(groups[own]) for name, own in sorted(known.items()) if own},
        predicted={name: rows[own] for name, own in places.items()},
        sources={name: sources[own] for name, own in places.items()},
        perturbations={name: perturbations[own[0]] for name, own in places.items()},
        cell_names=obs.index,
        predicted_names=names_of_answers,
        organism=str(organisms.mode().iloc[0]),
    )


def _groups(
    obs: pd.DataFrame, settings: Settings, most: int
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Measured cells by label, and the label of each; (…, None) where no column has them."""
    column = settings.measured_column
    if column is None:
        return {}, None
    usable = figure_cells(obs, settings.training_cells, column)
    cells = obs.assign(cell_id=obs.index.astype(str))
    found = find_measured(cells, column, settings.control, usable, most, settings.seed)
    return found.groups, found.labels


def log_unmeasured(compared: Compared) -> None:
    """Log the conditions that have no measured cells."""
    names = [name for name in compared.predicted if name not in compared.measured]
    if names and compared.measured:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        LOGGER.info("no cell was measured under %s%s: left out", ", ".join(names[:5]), more)


def genes_of(names: Mapping[str, str], genes: pd.Index) -> dict[str, str | None]:
    """The gene of the data that each condition's perturbation names; None where there is none."""
    return {condition: name if name in genes else None for condition, name in names.items()}
