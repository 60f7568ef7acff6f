"""Predicted perturbed cells: prompts, generation, genes, and the embedding of what was said."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.embedding import Pooling, embed_cells
from c2sflow.gene_trie import GeneTrie, gene_tokens
from c2sflow.generation import Decoding, GenerationStats, end_tokens, generate_tokens
from c2sflow.genes import parse_answer
from c2sflow.tokenization import tokenize_prompts


def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    genes: Collection[str],
    template: str,
    *,
    valid_genes_only: bool = True,
    no_repeats: bool = True,
    max_new_tokens: int = 200,
    temperature: float = 0.0,
    top_p: float = 1.0,
    num_samples: int = 1,
    seed: int = 42,
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> tuple[pd.DataFrame, GenerationStats]:
    """Predict the perturbed sentence of each cell.

    Parameters
    ----------
    model
        Causal language model with its head.
    cells
        A row a prediction: cell_id, sample, organism, cell_sentence, n_genes, perturbation (and
        c2s_condition, where that tells more apart), and the obs columns the template names.
    genes
        Words of the data set's genes; what else is said counts as invalid.
    template
        Perturbation prompt.
    valid_genes_only
        Let answers hold genes of `genes` only; else what the model says is counted.
    no_repeats
        With `valid_genes_only`: each gene at most once.
    temperature, top_p
        0 is greedy; else answers are sampled, from the likeliest tokens that together have the
        probability `top_p`.
    num_samples
        Answers a row; more than one needs a temperature above 0.

    Returns
    -------
    Predictions, row by row (num_samples times): source_cell, sample, organism, perturbation,
    sample_index, c2s_sentence (valid genes, each once), c2s_n_predicted_genes, c2s_invalid_genes,
    c2s_duplicate_genes, c2s_finish_reason, c2s_log_likelihood, c2s_truncated (genes of the control
    cell were left out of the prompt); and the figures of the run.
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
    context = model.config.max_position_embeddings - max_new_tokens
    prompts = tokenize_prompts(tokenizer, template, records, context)
    eos = end_tokens(model, tokenizer.eos_token_id)
    trie = None
    if valid_genes_only:
        paths = gene_tokens(tokenizer, list(genes)).values()
        trie = GeneTrie(list(paths), eos, model.config.vocab_size, model.device, no_repeats)
    answers, stats = generate_tokens(
        model,
        prompts.input_ids,
        Decoding(
            pad_token_id=tokenizer.pad_token_id,
            eos_token_ids=eos,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            trie=trie,
            seed=seed,
        ),
        keys=keys,
        max_batch_tokens=max_batch_tokens,
        max_rows=max_rows,
        progress=progress,
    )
    texts = tokenizer.batch_decode([a.token_ids for a in answers], skip_special_tokens=True)
    known = frozenset(genes)
    parsed = [
        parse_answer(text, known, cut=answer.finish_reason == "length")
        for text, answer in zip(texts, answers, strict=True)
    ]
    frame = pd.DataFrame(
        {
            "source_cell": [record["cell_id"] for record in records],
            "sample": [record["sample"] for record in records],
            "organism": [record["organism"] for record in records],
            "perturbation": [record["perturbation"] for record in records],
            "sample_index": number.astype(np.int32),
            "c2s_sentence": [" ".join(answer.genes) for answer in parsed],
            "c2s_n_predicted_genes": [len(answer.genes) for answer in parsed],
            "c2s_invalid_genes": [answer.n_invalid for answer in parsed],
            "c2s_duplicate_genes": [answer.n_duplicate for answer in parsed],
            "c2s_finish_reason": [answer.finish_reason for answer in answers],
            "c2s_log_likelihood": [answer.log_likelihood for answer in answers],
            "c2s_truncated": prompts.truncated,
        }
    )
    return frame, stats


def embed_predictions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    predictions: pd.DataFrame,
    template: str,
    *,
    pooling: Pooling = "mean",
    layer: int = -1,
    max_batch_tokens: int | str | None = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Embed the predicted sentences as the cells they come from are embedded.

    Parameters
    ----------
    cells, predictions
        Input and output of `predict`.
    template
        Embedding prompt.

    Returns
    -------
    float32 (n_predictions, hidden_size); NaN where no valid gene was predicted.
    """
    repeats = len(predictions) // max(1, len(cells))
    sources = [record for record in cells.to_dict("records") for _ in range(repeats)]
    columns = predictions[["c2s_sentence", "c2s_n_predicted_genes"]].itertuples(index=False)
    records = [
        {**source, "cell_sentence": sentence, "n_genes": n_genes}
        for source, (sentence, n_genes) in zip(sources, columns, strict=True)
    ]
    made = embed_cells(
        model.get_decoder(),
        tokenizer,
        template,
        records,
        pooling=pooling,
        layer=layer,
        max_batch_tokens=max_batch_tokens,
        progress=progress,
    )
    return made.vectors
