"""Predicted labels against the truth, each as cell types are: accuracy, confusion, calibration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from c2sflow.data.obs.figure_cells import FigureCells, figure_cells
from c2sflow.data.obs.measured_cells import draw
from c2sflow.evaluation.calibration import (
    MIN_CELLS,
    Judged,
    calibration_curves,
    calibration_figures,
    curves_table,
)
from c2sflow.evaluation.cell_types import type_tables
from c2sflow.evaluation.figures import figures_table
from c2sflow.evaluation.run_reader import RunCells
from c2sflow.inputs.labels import CELL_TYPE

ASKED = "asked"  # column with the name of the label
TITLES = {"accuracy": "labels", "confusion": "labels_confusion"}

Tables = dict[str, pd.DataFrame]


def label_tables(
    cells: RunCells,
    measured: Mapping[str, str],
    label_column: str | None,
    training_cells: str | None,
    evaluation_key: str | None,
    most: int,
    seed: int,
) -> tuple[Tables, list[str]]:
    """Tables of every label whose truth is known, one below the other, and notes on them.

    ``labels`` and ``labels_confusion`` are those of `c2sflow.evaluation.cell_types.type_tables`;
    ``calibration`` and ``calibration_curves`` are also of cell types, by `label_column`.

    Parameters
    ----------
    measured
        Column of obs with the truth, by the label's name.
    label_column, training_cells, evaluation_key
        See `c2sflow.evaluation.run.Settings`.
    most
        Cells that are judged.
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    notes: list[str] = []
    truths = {CELL_TYPE: label_column} if label_column else {}
    for name, column in (truths | dict(measured)).items():
        usable = figure_cells(cells.obs, training_cells, column)
        tables: Tables = {}
        if name in measured:
            found, own = type_tables(cells, usable, column, evaluation_key, most, seed, asked=name)
            notes += [f"{name}: {note}" for note in own]
            tables = {TITLES[title]: table for title, table in found.items()}
        calibrated, own = _calibration(cells, usable, name, most, seed)
        notes += [f"{name}: {note}" for note in own]
        for title, table in (tables | calibrated).items():
            table.insert(0, ASKED, name)
            parts.setdefault(title, []).append(table)
    return {title: pd.concat(own, ignore_index=True) for title, own in parts.items()}, notes


def _calibration(
    cells: RunCells, usable: FigureCells, name: str, most: int, seed: int
) -> tuple[Tables, list[str]]:
    """Calibration of a label, if it was chosen from candidates."""
    rows = draw(cells.obs, np.flatnonzero(usable.judged), most, seed)
    scored = cells.label_scores(rows, f"c2s_{name}") if rows.size else None
    if scored is None:
        return {}, []
    candidates, scores = scored
    judged = Judged.of(candidates, scores, usable.labels[rows])
    notes = []
    if n := int((judged.truth < 0).sum()):
        notes.append(
            f"{n} of {judged.truth.size} cells have a label that is none of the "
            f"{len(candidates)} to choose from"
        )
    figures = calibration_figures(judged, seed)
    if not figures:
        notes.append(f"no calibration of fewer than {MIN_CELLS} cells ({judged.truth.size})")
        return {}, notes
    return {
        "calibration": figures_table(figures),
        "calibration_curves": curves_table(calibration_curves(judged, seed)),
    }, notes
