"""A run's files to its evaluation: what EVALUATE does.

Figures are of a sample of the cells, drawn by a hash of seed and cell, so that memory and time do
not grow with the data.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from c2sflow import reconstruction_quality
from c2sflow.accuracy import (
    confusion_table,
    embedding_accuracy,
    fit_components,
    frequent,
    label_figures,
    majority,
)
from c2sflow.answer_trust import answer_figures, novelty_figures
from c2sflow.evaluation_tables import write_table
from c2sflow.generation_quality import generation_figures
from c2sflow.measured_perturbations import (
    Measured,
    draw,
    find_measured,
    perturbation_figures,
    unlike_controls,
)
from c2sflow.obs_queries import obsm_keys, select_cells
from c2sflow.provenance import write_json
from c2sflow.reconstruction_quality import reconstruction_figures
from c2sflow.resampling import Figure, figures_table
from c2sflow.run_cells import RunCells, RunFiles

LOGGER = logging.getLogger(__name__)
EARLIER = "X_c2s of the input"


@dataclass
class Settings:
    """What is evaluated, and how.

    Attributes
    ----------
    label_column
        Column of obs with the cells' types.
    evaluation_key
        Arrays of the input's obsm, with commas between, that are scored beside X_c2s; one of
        these may be an X_c2s that an earlier run made.
    measured_column
        Column of obs that says under which perturbation a cell was measured.
    control
        pandas query that picks control cells; those labelled as control are control cells too.
    training_cells
        pandas query that picks the cells that the model was trained on: cell types are not judged
        by them, nor are perturbations compared with them.
    evaluation_cells
        At most so many cells are looked at for each purpose.
    seed
        Of the drawing of cells, the folds and the bootstrap.
    """

    label_column: str | None = None
    evaluation_key: str | None = None
    measured_column: str | None = None
    control: str | None = None
    training_cells: str | None = None
    evaluation_cells: int = 10_000
    seed: int = 42


def write_evaluation(files: RunFiles, outdir: Path, settings: Settings) -> None:
    """Write the tables of the evaluation, those that this run has something for.

    ``evaluation/accuracy.tsv``, ``confusion.tsv``, ``reconstruction.tsv``, ``trust.tsv``,
    ``perturbation.tsv`` and ``generation.tsv``; and ``evaluation/notes.json``: what is to be known
    of each.

    Raises
    ------
    UserError
        If a file is missing or broken.
    """
    cells = RunCells(files)
    notes: dict[str, list[str]] = {}
    tables = {"reconstruction": figures_table(_reconstruction(cells, settings))}
    if settings.label_column:
        tables |= _accuracy(cells, settings, notes.setdefault("accuracy", []))
    answers = cells.answers()
    if len(answers):
        tables["trust"] = figures_table(_trust(cells, answers, settings))
    if len(answers) and settings.measured_column:
        measured = find_measured(
            cells.obs, settings.measured_column, settings.control, settings.training_cells,
            settings.evaluation_cells, settings.seed,
        )  # fmt: skip
        figures, notes["perturbation"] = perturbation_figures(
            cells, answers, measured, settings.evaluation_cells, settings.seed
        )
        notes["perturbation"] += _unlike_controls(cells, answers, measured, settings)
        tables["perturbation"] = figures_table(figures)
    generated = cells.generated()
    if len(generated):
        figures, notes["generation"] = generation_figures(
            cells, generated, settings.label_column, settings.evaluation_cells, settings.seed
        )
        tables["generation"] = figures_table(figures)
    for name, table in tables.items():
        if len(table):
            write_table(table, outdir / "evaluation" / f"{name}.tsv")
            LOGGER.info("evaluation: %s: %d figures", name, len(table))
    write_json(outdir / "evaluation" / "notes.json", notes)
    for note in (note for found in notes.values() for note in found):
        LOGGER.info("evaluation: %s", note)


def _unlike_controls(
    cells: RunCells, answers: pd.DataFrame, measured: Measured, settings: Settings
) -> list[str]:
    """A warning of predicted perturbations, if types are known that are not what is predicted."""
    if settings.label_column in (None, settings.measured_column):
        return []
    predicted = set(answers["condition"].astype(str)) | set(answers["perturbation"].astype(str))
    unlike = unlike_controls(cells.obs[settings.label_column], measured)
    names = [name for name in unlike if name in predicted]
    if not names:
        return []
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [
        f"{some}: most of the measured cells have another {settings.label_column} than the control "
        "cells, and the figures tell how these types differ, too"
    ]


def _reconstruction(cells: RunCells, settings: Settings) -> list[Figure]:
    most = min(settings.evaluation_cells, reconstruction_quality.MAX_CELLS)
    rows = draw(cells.obs, np.arange(len(cells.obs)), most, settings.seed)
    return reconstruction_figures(
        cells.expression(rows), cells.sentences(rows), cells.obs["sample"].iloc[rows], cells.fit,
        settings.seed,
    )  # fmt: skip


def _trust(cells: RunCells, answers: pd.DataFrame, settings: Settings) -> list[Figure]:
    """Of all answers the counts; of those to drawn cells the sentences."""
    figures = []
    names = sorted(set(answers["condition"].astype(str)))
    for name in names:
        own = answers[answers["condition"] == name]
        figures += answer_figures(own, name, settings.seed)
        ids = pd.DataFrame({"sample": own["sample"].astype(str), "cell_id": own["source_cell"]})
        most = max(1, settings.evaluation_cells // len(names))
        some = own.iloc[draw(ids, np.arange(len(own)), most, settings.seed, name)]
        sources = some["source"].to_numpy()
        said, controls = cells.said(some)[0], cells.sentences(sources)
        figures += novelty_figures(said, controls, sources, name, settings.seed)
    return figures


# ------------------------------------------------------------------ cell types


def _accuracy(cells: RunCells, settings: Settings, notes: list[str]) -> dict[str, pd.DataFrame]:
    """Figures and confusion of the embeddings, of expression, and of what the model said."""
    labels, seed = cells.obs[settings.label_column], settings.seed
    if settings.training_cells is not None:
        trained = select_cells(cells.obs, settings.training_cells, "--training_cells")
        notes.append(f"{trained.sum()} cells that the model was trained on are left out")
        labels = labels.where(~trained)
    kept = frequent(labels)
    if labels[kept].nunique() < 2:
        notes.append(f"{settings.label_column}: fewer than two labels have 5 cells or more")
        return {}
    if n_rare := int(labels.notna().sum() - kept.sum()):
        notes.append(f"{n_rare} cells have a label that fewer than 5 cells have: left out")
    rows = draw(cells.obs, np.flatnonzero(kept), settings.evaluation_cells, seed)
    rows = rows[np.isfinite(cells.obsm("X_c2s", rows)).all(axis=1)]
    rows = rows[frequent(labels.iloc[rows])]  # rare among those that were drawn
    truth = labels.iloc[rows].astype(str).to_numpy(dtype=object)
    if len(set(truth)) < 2:
        notes.append(f"{settings.label_column}: too few labelled cells have an embedding")
        return {}
    figures = label_figures(truth, majority(truth), "majority", "", seed)
    tables = []
    for space, vectors in _spaces(cells, rows, settings).items():
        found, confusion = embedding_accuracy(vectors, truth, space, seed)
        figures += found
        tables.append(confusion)
    said = cells.said_types(rows)
    if said is not None:
        figures += label_figures(truth, said, "annotation", "", seed)
        tables.append(confusion_table(truth, said, "annotation", ""))
    confusion = pd.concat(tables, ignore_index=True)
    return {"accuracy": figures_table(figures), "confusion": confusion}


def _spaces(cells: RunCells, rows: np.ndarray, settings: Settings) -> dict[str, np.ndarray]:
    """X_c2s, principal components of expression to compare with, and other embeddings."""
    expression = cells.expression(rows)
    spaces = {
        "X_c2s": cells.obsm("X_c2s", rows),
        "expression_pcs": fit_components(expression, settings.seed).transform(expression),
    }
    for key in obsm_keys(settings.evaluation_key):
        name = EARLIER if key == "X_c2s" else key
        spaces[name] = np.nan_to_num(cells.obsm(key, rows, of_input=True))
    return spaces
