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
from c2sflow.inputs.lists import allowed_words, read_vocabulary
from c2sflow.model.batching import peak_memory, resolve_cache_tokens, resolve_max_batch_tokens
from c2sflow.model.embedding import embed_cells
from c2sflow.model.tasks import batch_share

ANSWERING = ("valid_genes_only", "no_repeats", "max_new_tokens", "temperature", "top_p", "seed")


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
    """Embed the answers as EMBED embeds cells.

    Returns
    -------
    float32 (n_answers, hidden_size); NaN for answers without genes.
    """
    budget = resolve_max_batch_tokens(options["max_batch_tokens"], model)
    embedded = embed_cells(
        model.get_decoder(), tokenizer, template, records,
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
    model: PreTrainedModel, n_answers: int, stats: Sequence[GenerationStats]
) -> dict[str, object]:
    """Number of tokens generated, and speed."""
    seconds = sum(part.seconds for part in stats)
    n_new = sum(part.n_new_tokens for part in stats)
    return {
        "n_predictions": n_answers,
        "n_prompt_tokens": sum(part.n_prompt_tokens for part in stats),
        "n_new_tokens": n_new,
        "max_batch_tokens": min(part.max_batch_tokens for part in stats),
        "seconds": seconds,
        "tokens_per_second": n_new / seconds,
        "peak_memory_bytes": peak_memory(model.device),
    }
