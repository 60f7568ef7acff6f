"""Predicted perturbed cells: prompts, and the predicted sentences."""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.generation.answers import AnswerOptions, GeneVocabulary, answer_sentences
from c2sflow.generation.decoding import GenerationStats
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.model.tokenization import tokenize_prompts


def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    genes: Collection[str],
    template: str,
    *,
    length: AnswerLength | None = None,
    num_samples: int = 1,
    **options: Unpack[AnswerOptions],
) -> tuple[pd.DataFrame, GenerationStats]:
    """Predict the perturbed sentence of each cell.

    Parameters
    ----------
    cells
        A row a prediction: cell_id, sample, organism, cell_sentence, n_genes, perturbation (and
        c2s_condition, where that distinguishes more), and the obs columns the template names.
    template
        Perturbation prompt.
    num_samples
        Answers a row; more than one needs a temperature above 0.
    genes
        Words of the data set's genes.
    length
        How long an answer may be; None for the defaults.
    model, tokenizer, options
        See `c2sflow.generation.answers.answer_sentences`.

    Returns
    -------
    Predictions, row by row (num_samples times): source_cell, sample, organism, perturbation,
    sample_index, c2s_sentence (valid genes, each once), c2s_n_predicted_genes, c2s_invalid_genes,
    c2s_duplicate_genes, c2s_finish_reason, c2s_log_likelihood_valid or c2s_log_likelihood,
    c2s_truncated (genes of the control cell were left out of the prompt); and the figures of the
    run.
    """
    records = [record for record in cells.to_dict("records") for _ in range(num_samples)]
    number = np.tile(np.arange(num_samples), len(cells))
    keys = [
        "|".join(
            str(part)
            for part in (
                record["sample"],
                record["cell_id"],
                record.get("c2s_condition", record["perturbation"]),
                n,
            )
        )
        for record, n in zip(records, number, strict=True)
    ]
    # The answer needs its place in the context too.
    vocabulary = GeneVocabulary(tokenizer, genes)
    limit = vocabulary.limit(length or AnswerLength(), model, options)
    context = model.config.max_position_embeddings - limit.n_tokens
    prompts = tokenize_prompts(tokenizer, template, records, context)
    answers, stats = answer_sentences(
        model, tokenizer, prompts.input_ids, keys, vocabulary, limit, **options
    )
    copied = {"cell_id": "source_cell"} | {n: n for n in ("sample", "organism", "perturbation")}
    frame = pd.DataFrame({new: [r[old] for r in records] for old, new in copied.items()})
    frame["sample_index"] = number.astype(np.int32)
    frame = pd.concat([frame, answers], axis=1).assign(c2s_truncated=prompts.truncated)
    return frame, stats


def predicted_records(cells: pd.DataFrame, predictions: pd.DataFrame) -> list[dict[str, object]]:
    """The predicted cells as `c2sflow.model.embedding.embed_cells` takes them.

    Each has what its prompt may use of the cell that it comes from.

    Parameters
    ----------
    cells, predictions
        Input and output of `predict`.
    """
    repeats = len(predictions) // max(1, len(cells))
    sources = [record for record in cells.to_dict("records") for _ in range(repeats)]
    columns = predictions[["c2s_sentence", "c2s_n_predicted_genes"]].itertuples(index=False)
    return [
        {**source, "cell_sentence": sentence, "n_genes": n_genes}
        for source, (sentence, n_genes) in zip(sources, columns, strict=True)
    ]
