"""What the tasks that generate have in common: vocabularies, budgets, and files of answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.files import write_beside
from c2sflow.generation.decoding import GenerationStats
from c2sflow.generation.plan import GROUP, MISSING
from c2sflow.inputs.lists import allowed_words, read_vocabulary
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.model.attention import embedding_attention, using
from c2sflow.model.batching import peak_memory, resolve_cache_tokens, resolve_max_batch_tokens
from c2sflow.model.tasks import batch_share
from c2sflow.model.wordings import embed_wordings
from c2sflow.sentences.variants import variants_of

ANSWERING = ("valid_genes_only", "no_repeats", "temperature", "top_p", "seed", "likelihood")


def answer_length(options: Mapping[str, Any]) -> AnswerLength:
    """How long a task's answers may be, by its options and its model."""
    asked = (options.get(name) for name in ("max_answer_genes", "max_new_tokens"))
    return AnswerLength.of(options["model"], *asked)


def cache_share(options: Mapping[str, Any], model: PreTrainedModel) -> int:
    """Tokens that are decoded together at this attempt."""
    budget = resolve_cache_tokens(options["max_batch_tokens"], model)
    return batch_share(budget, options.get("attempt", 1))


def allowed_genes(words: Iterable[str], options: Mapping[str, Any]) -> list[str]:
    """Those of the data's genes that an answer may hold: all, or what gene_vocabulary_file has."""
    if not options.get("gene_vocabulary_file"):
        return list(words)
    return allowed_words(words, read_vocabulary(options["gene_vocabulary_file"]))


def embed_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Mapping[str, object]],
    template: str,
    options: Mapping[str, Any],
) -> np.ndarray:
    """Embed the answers as EMBED embeds cells, under each wording of the prompt if asked for.

    Returns
    -------
    float32 (n_answers, hidden_size); NaN for answers without genes.
    """
    budget = resolve_max_batch_tokens(options["max_batch_tokens"], model)
    templates = variants_of(template, "embedding_prompt", options.get("prompt_variant"))
    backbone = model.get_decoder()
    with using(backbone, embedding_attention(model, options.get("attention", "auto"))):
        embedded = embed_wordings(
            backbone, tokenizer, templates, records,
            pooling=options["pooling"], layer=options["embedding_layer"],
            max_batch_tokens=batch_share(budget, options.get("attempt", 1)),
        )  # fmt: skip
    return embedded.vectors


def write_answers(path: Path, answers: pd.DataFrame, vectors: np.ndarray) -> None:
    """Write answers and their embeddings, float32 (n_answers, hidden_size), as Parquet."""
    table = pa.Table.from_pandas(answers, preserve_index=False)
    flat = pa.array(vectors.astype(np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    with write_beside(path) as partial:
        table = table.append_column("X_c2s", column)
        # In groups, so that MERGE can read them by blocks.
        pq.write_table(table, partial, compression="zstd", row_group_size=2048)


def answer_figures(
    model: PreTrainedModel,
    answers: pd.DataFrame,
    stats: Sequence[GenerationStats],
    length: AnswerLength,
) -> dict[str, object]:
    """Numbers of answers, of those that were cut, of tokens generated, and speed.

    Parameters
    ----------
    answers
        Columns of `c2sflow.generation.answers.answer_sentences`.
    length
        What was asked for.
    """
    seconds = sum(part.seconds for part in stats)
    n_new = sum(part.n_new_tokens for part in stats)
    return {
        **cut_figures(answers, stats, length),
        "n_prompt_tokens": sum(part.n_prompt_tokens for part in stats),
        "n_new_tokens": n_new,
        "max_batch_tokens": min(part.max_batch_tokens for part in stats),
        "seconds": seconds,
        "tokens_per_second": n_new / seconds,
        "peak_memory_bytes": peak_memory(model.device),
    }


def cut_figures(
    answers: pd.DataFrame, stats: Sequence[GenerationStats], length: AnswerLength
) -> dict[str, Any]:
    """Numbers of answers, and of those that were cut: see `answer_figures`.

    Of several cells an answer these are numbers of cells, with n_missing: those that were asked
    for and did not come back.
    """
    words = ["c2s_n_predicted_genes", "c2s_invalid_genes", "c2s_duplicate_genes"]
    n_words = answers[words].sum(axis=1)
    cut = (answers["c2s_finish_reason"] == "length") & (n_words > 0)
    at_genes = cut & (n_words >= length.n_genes)
    missing = {}
    if GROUP in answers:
        missing = {"n_missing": int((answers["c2s_finish_reason"] == MISSING).sum())}
    return {
        "n_predictions": len(answers),
        **missing,
        "max_answer_genes": length.n_genes,
        "max_answer_genes_from": length.source,
        "max_new_tokens": max(part.limit.n_tokens for part in stats if part.limit),
        "n_cut_by_genes": int(at_genes.sum()),
        "n_cut_by_tokens": int((cut & ~at_genes).sum()),
    }


def cut_warnings(figures: Mapping[str, Any]) -> list[str]:
    """How many answers of `cut_figures` were cut, and how to mend it.

    To end where the model's training ended answers is no fault: the report counts such answers.
    """
    warnings, what = [], f"{figures['n_predictions']} answers"
    tokens = "raise --max_new_tokens"
    if "n_missing" in figures:
        what = f"{figures['n_predictions']} cells"
        tokens = "take fewer --cells_per_answer or --max_answer_genes, or raise --max_new_tokens"
    n_cut, n_genes = figures["n_cut_by_genes"], figures["max_answer_genes"]
    if n_cut and figures["max_answer_genes_from"] != "model":
        warnings.append(
            f"{n_cut} of {what} reached {n_genes} genes and were cut there: raise "
            "--max_answer_genes"
        )
    if n_cut := figures["n_cut_by_tokens"]:
        warnings.append(
            f"{n_cut} of {what} were cut at {figures['max_new_tokens']} tokens: {tokens}"
        )
    return warnings
