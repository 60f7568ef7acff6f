"""A run's files to its evaluation: what EVALUATE does.

Figures are of a sample of the cells, drawn by a hash of seed and cell, so that memory and time do
not grow with the data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from c2sflow.common.files import write_json
from c2sflow.common.threads import one_thread
from c2sflow.data.obs.figure_cells import (
    UNKNOWN_TRAINING,
    FigureCells,
    figure_cells,
    known_labels,
)
from c2sflow.data.obs.measured_cells import Measured, draw, find_measured
from c2sflow.data.result_tables import appended_table, write_table
from c2sflow.evaluation import sentences as reconstruction_quality
from c2sflow.evaluation.cell_types import type_tables
from c2sflow.evaluation.embeddings import embedding_figures
from c2sflow.evaluation.figures import Figure, figures_table
from c2sflow.evaluation.gene_changes import GeneChanges
from c2sflow.evaluation.generation import generation_figures
from c2sflow.evaluation.held_out_kinds import kind_tables
from c2sflow.evaluation.labels import label_tables
from c2sflow.evaluation.measured import perturbation_figures, unlike_controls
from c2sflow.evaluation.run_reader import RunCells, RunFiles
from c2sflow.evaluation.sentences import (
    answer_figures,
    figures_at_depth,
    novelty_figures,
    reconstruction_figures,
)

LOGGER = logging.getLogger(__name__)


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
    batch_column
        Column of obs with the batch, donor or sample of each cell: how well these mix.
    measured_column
        Column of obs with the perturbation under which a cell was measured.
    context_column
        Column of obs with the context (cell line, donor, cell type) of each cell: what is new of a
        held-out cell.
    control
        pandas query that picks control cells; those labelled as control are control cells too.
    replicate_column
        Column of obs with the donor or sample of each cell: the unit of the changes by gene.
    training_cells
        pandas query that picks the cells that the model was trained on: no figure is of them. None
        if they are not known.
    measured_labels
        By the name of a predicted label, the column of obs with the truth.
    evaluation_cells
        At most so many cells are looked at for each purpose.
    seed
        Of the drawing of cells, the folds and the bootstrap.
    """

    label_column: str | None = None
    evaluation_key: str | None = None
    batch_column: str | None = None
    measured_column: str | None = None
    context_column: str | None = None
    control: str | None = None
    replicate_column: str | None = None
    training_cells: str | None = None
    measured_labels: Mapping[str, str] = field(default_factory=dict)
    evaluation_cells: int = 10_000
    seed: int = 42


def write_evaluation(files: RunFiles, outdir: Path, settings: Settings) -> None:
    """Write the tables of the evaluation, those that this run has something for.

    ``evaluation/accuracy.tsv``, ``confusion.tsv``, ``embedding.tsv``, ``labels.tsv``,
    ``labels_confusion.tsv``, ``calibration.tsv``, ``calibration_curves.tsv``,
    ``reconstruction.tsv``, ``trust.tsv``, ``perturbation.tsv``, ``held_out.tsv``, ``genes.tsv`` and
    ``generation.tsv``; and ``evaluation/notes.json``: what is to be known of each.

    Raises
    ------
    UserError
        If a file is missing or broken.
    """
    with one_thread("blas"), appended_table(outdir / "evaluation" / "genes.tsv") as write_genes:
        tables, notes = _tables(files, settings, write_genes)
    for name, table in tables.items():
        if len(table):
            write_table(table, outdir / "evaluation" / f"{name}.tsv")
            LOGGER.info("evaluation: %s: %d figures", name, len(table))
    write_json(outdir / "evaluation" / "notes.json", notes)
    for note in (note for found in notes.values() for note in found):
        LOGGER.info("evaluation: %s", note)


def _tables(
    files: RunFiles, settings: Settings, write_genes: Callable[[pd.DataFrame], None]
) -> tuple[dict[str, pd.DataFrame], dict[str, list[str]]]:
    """The tables by name, and the notes on each."""
    cells = RunCells(files)
    usable = figure_cells(cells.obs, settings.training_cells, settings.label_column)
    notes: dict[str, list[str]] = {"cells": [_which(usable)]}
    tables: dict[str, pd.DataFrame] = {}
    if settings.label_column:
        types, notes["accuracy"] = type_tables(
            cells, usable, settings.label_column, settings.evaluation_key,
            settings.evaluation_cells, settings.seed,
        )  # fmt: skip
        tables |= types
        figures, notes["embedding"] = embedding_figures(
            cells, usable, settings.batch_column, settings.evaluation_key,
            settings.evaluation_cells, settings.seed,
        )  # fmt: skip
        tables["embedding"] = figures_table(figures)
    labels, notes["labels"] = label_tables(
        cells, settings.measured_labels, settings.label_column, settings.training_cells,
        settings.evaluation_key, settings.evaluation_cells, settings.seed,
    )  # fmt: skip
    tables |= labels
    answers = cells.answers()
    if len(answers):
        answers = answers[usable.held_out[answers["source"]]]
        tables["trust"] = figures_table(_trust(cells, answers, settings))
    if len(answers) and settings.measured_column:
        measured = find_measured(
            cells.obs, settings.measured_column, settings.control,
            figure_cells(cells.obs, settings.training_cells, settings.measured_column),
            settings.evaluation_cells, settings.seed,
        )  # fmt: skip
        genes = GeneChanges(cells, settings.replicate_column, settings.seed)
        figures, notes["perturbation"] = perturbation_figures(
            cells, answers, measured, settings.evaluation_cells, settings.seed, genes, write_genes,
        )  # fmt: skip
        notes["perturbation"] += _unlike_controls(usable, answers, measured, settings)
        tables["perturbation"] = figures_table(figures)
        if usable.known:
            tables["held_out"], notes["held_out"] = kind_tables(
                cells, answers, measured, figures, _contexts(cells, settings), usable.learned,
                settings.evaluation_cells, settings.seed, genes,
            )  # fmt: skip
    generated = cells.generated()
    lengths = _answer_lengths(cells, answers, generated, settings.seed)
    tables["reconstruction"] = figures_table(_reconstruction(cells, settings, lengths))
    if len(generated):
        figures, notes["generation"] = generation_figures(
            cells, generated, usable, settings.label_column, settings.evaluation_cells,
            settings.seed,
        )  # fmt: skip
        tables["generation"] = figures_table(figures)
    return tables, notes


def _contexts(cells: RunCells, settings: Settings) -> pd.Series:
    """Context of every cell, "" where none is known."""
    if settings.context_column is None:
        return pd.Series("", cells.obs.index, dtype=object)
    return pd.Series(known_labels(cells.obs[settings.context_column]), cells.obs.index).fillna("")


def _which(usable: FigureCells) -> str:
    """Notes on the cells that all figures are of."""
    if not usable.known:
        return UNKNOWN_TRAINING
    return (
        f"{usable.held_out.sum():,} of {usable.trained.size:,} cells were not used to train the "
        "model: metrics of cell types, predicted and generated cells use only these"
    )


def _unlike_controls(
    usable: FigureCells, answers: pd.DataFrame, measured: Measured, settings: Settings
) -> list[str]:
    """A warning of predicted perturbations, if types are known that are not what is predicted."""
    if settings.label_column in (None, settings.measured_column):
        return []
    predicted = set(answers["condition"].astype(str)) | set(answers["perturbation"].astype(str))
    unlike = unlike_controls(pd.Series(usable.labels), measured)
    names = [name for name in unlike if name in predicted]
    if not names:
        return []
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [
        f"{some}: most of the measured cells have another {settings.label_column} than the control "
        "cells, so the figures also measure how these types differ"
    ]


def _answer_lengths(
    cells: RunCells, answers: pd.DataFrame, generated: pd.DataFrame, seed: int
) -> np.ndarray:
    """Genes of each predicted cell, or, without any, of some generated ones: int (n_answers,)."""
    if len(answers):
        return answers["c2s_n_predicted_genes"].to_numpy(dtype=np.int64)
    most = min(len(generated), reconstruction_quality.MAX_CELLS)
    sentences, _ = cells.generated_sentences(generated.sample(most, random_state=seed))
    return np.array([len(genes) for genes in sentences], dtype=np.int64)


def _reconstruction(cells: RunCells, settings: Settings, lengths: np.ndarray) -> list[Figure]:
    """Of whole sentences; and, where there are answers, of sentences of their length."""
    most = min(settings.evaluation_cells, reconstruction_quality.MAX_CELLS)
    rows = draw(cells.obs, np.arange(len(cells.obs)), most, settings.seed)
    found = (
        cells.expression(rows), cells.sentences(rows), cells.obs["sample"].iloc[rows], cells.fit
    )  # fmt: skip
    figures = reconstruction_figures(*found, settings.seed)
    return figures + (figures_at_depth(*found, lengths, settings.seed) if lengths.size else [])


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
        predicted, controls = cells.answer_sentences(some)[0], cells.sentences(sources)
        figures += novelty_figures(predicted, controls, sources, name, settings.seed)
    return figures
