"""Predicted sentences of some cells of a table of cell sentences, beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.generation.perturbation import predict

PERTURBED = "perturbed_cell_sentence"
COLUMNS = (
    PERTURBED, "c2s_invalid_genes", "c2s_duplicate_genes", "c2s_finish_reason",
    "c2s_log_likelihood",
)  # fmt: skip


def perturb_table(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    table: pd.DataFrame,
    labels: Sequence[str | None],
    template: str,
    **options: Any,
) -> pd.DataFrame:
    """Predict the perturbed sentence of each cell that has a perturbation.

    Parameters
    ----------
    table
        From `c2sflow.api.sentence_table.sentence_table`.
    labels
        Perturbation of each cell, or None.
    template, options
        See `c2sflow.generation.perturbation.predict`.

    Returns
    -------
    `COLUMNS` of every cell of the table; None or NaN where there is no perturbation.

    Raises
    ------
    UserError
        If there are not as many labels as cells, or no cell has one.
    """
    if len(labels) != len(table):
        raise UserError(f"perturbations_list has {len(labels)} entries for {len(table)} cells")
    chosen = np.array([label is not None for label in labels])
    if not chosen.any():
        raise UserError(
            "no cell has a perturbation: set perturbation_column before process_data, or give "
            "perturbations_list"
        )
    cells = table.assign(perturbation=labels)[chosen]
    present = (word for text in table["cell_sentence"] for word in text.split())
    genes = set(table.attrs.get("genes") or present)
    predictions, _ = predict(model, tokenizer, cells, genes, template, **options)
    answers = predictions.rename(columns={"c2s_sentence": PERTURBED})[list(COLUMNS)]
    answers = answers.set_axis(table.index[chosen]).reindex(table.index)
    sentences = answers[PERTURBED].astype(object)
    return answers.assign(**{PERTURBED: sentences.where(sentences.notna(), None)})
