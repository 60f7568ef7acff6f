"""Predicted cells of a table of cell sentences: their sentences, and what MERGE would write."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.api.sentence_table import check_table, source_obs
from c2sflow.common.errors import UserError
from c2sflow.data.obs.held_values import offer_values
from c2sflow.data.obs.labels import is_perturbed
from c2sflow.generation.decoding import GenerationStats
from c2sflow.generation.perturbation import predict
from c2sflow.generation.tasks import write_answers
from c2sflow.results.predictions import Predicted, merge_predictions
from c2sflow.sentences.prompts import check_fields


def own_labels(table: pd.DataFrame) -> pd.Series:
    """Perturbation that each cell is labelled with: None without a label, and for control cells."""
    labels = table["perturbations"]
    return labels.where(is_perturbed(labels), None)


def predict_table(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    table: pd.DataFrame,
    labels: Sequence[object] | pd.Series,
    template: str,
    genes: Collection[str],
    **options: Any,
) -> tuple[pd.DataFrame, pd.DataFrame, GenerationStats]:
    """Predict the perturbed sentence of each cell that has a perturbation.

    Parameters
    ----------
    table
        From `c2sflow.api.sentence_table.sentence_table`.
    labels
        Perturbation of each cell; missing: the cell is left out.
    template, genes, options
        See `c2sflow.generation.perturbation.predict`.

    Returns
    -------
    The cells of the table that are perturbed, their predictions, and the figures of the run.

    Raises
    ------
    UserError
        If there are not as many labels as cells, no cell has one, or the prompt uses a column that
        the table lacks.
    """
    check_table(table)
    if len(labels) != len(table):
        raise UserError(f"perturbations_list has {len(labels)} entries for {len(table)} cells")
    names = pd.Series(list(labels), index=table.index, dtype=object)
    chosen = names.notna().to_numpy()
    if not chosen.any():
        raise UserError(
            "no cell has a perturbation: set perturbation_column before process_data, or give "
            "perturbations_list" + offer_values(table[["perturbations"]])
        )
    names = names[chosen].astype(str)
    cells = table[chosen].assign(perturbation=names, c2s_condition=names)
    check_fields(template, cells.columns, "perturbation_prompt")
    predictions, stats = predict(model, tokenizer, cells, genes, template, **options)
    return cells, predictions.assign(condition=predictions["perturbation"]), stats


def perturbed_anndata(
    table: pd.DataFrame, predictions: pd.DataFrame, vectors: np.ndarray, uns: Mapping
) -> ad.AnnData:
    """What c2s_perturbed.h5ad holds of these predictions.

    Parameters
    ----------
    table, predictions
        Input and output of `predict_table`.
    vectors
        float32 (n_predictions, hidden_size): embeddings, for ``obsm["X_c2s"]``.
    uns
        See `c2sflow.results.predictions.merge_predictions`.
    """
    genes = table.attrs["genes"]
    columns = {word: place for place, word in enumerate(genes)}
    sources = source_obs(table)
    with tempfile.TemporaryDirectory(prefix="c2sflow-") as folder:
        answers, target = Path(folder) / "cells.parquet", Path(folder) / "c2s_perturbed.h5ad"
        write_answers(answers, predictions, vectors)
        merge_predictions(
            [Predicted(answers, len(predictions), columns, sources.index)],
            sources,
            pd.DataFrame(index=pd.Index(list(genes.values()))),
            table.attrs["rank_fit"],
            target,
            uns,
        )
        return ad.read_h5ad(target)
