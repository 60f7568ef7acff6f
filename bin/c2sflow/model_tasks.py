"""What the model's tasks have in common: shards, budgets, answers, and the figures they write."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.batching import peak_memory, resolve_cache_tokens, resolve_max_batch_tokens
from c2sflow.embedding import embed_cells
from c2sflow.errors import UserError
from c2sflow.generation import GenerationStats
from c2sflow.models import load_model, load_tokenizer
from c2sflow.provenance import remedy, write_beside
from c2sflow.vocabulary import read_vocabulary, words_to_say

LOGGER = logging.getLogger(__name__)
MODEL_OPTIONS = ("device", "dtype", "attention", "quantization")
ANSWERING = ("valid_genes_only", "no_repeats", "max_new_tokens", "temperature", "top_p", "seed")


def read_shard(path: Path) -> pd.DataFrame:
    """Cells of a shard: cell_id, sample, organism, cell_sentence, n_genes and the obs columns.

    Raises
    ------
    UserError
        If the file is missing or broken.
    """
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"shard {path.name} cannot be read: {error}; {remedy(path)}") from None


def load(
    options: Mapping[str, object], head: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a task: see `c2sflow.models.load_model`.

    Parameters
    ----------
    options
        model (a directory), and `MODEL_OPTIONS` as far as given.
    """
    tokenizer = load_tokenizer(options["model"])
    return load_model(options["model"], head=head, **only(options, MODEL_OPTIONS)), tokenizer


def only(options: Mapping, names: tuple[str, ...]) -> dict:
    """Those of the options that are given."""
    return {name: options[name] for name in names if name in options}


def batch_share(budget: int, attempt: int) -> int:
    """Tokens of a batch at the first, second, … attempt."""
    return max(1, budget >> (attempt - 1))


def cache_share(options: Mapping[str, object], model: PreTrainedModel) -> int:
    """Tokens that are decoded together at this attempt."""
    budget = resolve_cache_tokens(options["max_batch_tokens"], model)
    return batch_share(budget, options.get("attempt", 1))


def genes_to_say(words: Sequence[str], options: Mapping[str, object]) -> list[str]:
    """Those of the data's genes that an answer may hold: all, or what gene_vocabulary_file has."""
    if not options.get("gene_vocabulary_file"):
        return list(words)
    return words_to_say(words, read_vocabulary(options["gene_vocabulary_file"]))


def embed_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Mapping[str, object]],
    template: str,
    options: Mapping[str, object],
) -> np.ndarray:
    """Embed what was said as EMBED embeds cells.

    Returns
    -------
    float32 (n_answers, hidden_size); NaN where no gene was said.
    """
    budget = resolve_max_batch_tokens(options["max_batch_tokens"], model)
    made = embed_cells(
        model.get_decoder(), tokenizer, template, records,
        pooling=options["pooling"], layer=options["embedding_layer"],
        max_batch_tokens=batch_share(budget, options.get("attempt", 1)),
    )  # fmt: skip
    return made.vectors


def write_answers(path: Path, answers: pd.DataFrame, vectors: np.ndarray) -> None:
    """Write answers and their embeddings, float32 (n_answers, hidden_size), as Parquet."""
    table = pa.Table.from_pandas(answers, preserve_index=False)
    flat = pa.array(vectors.astype(np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    with write_beside(path) as partial:
        table = table.append_column("X_c2s", column)
        # In groups, so that MERGE can read them by blocks.
        pq.write_table(table, partial, compression="zstd", row_group_size=2048)


def run_figures(model: PreTrainedModel, name: str, cells: pd.DataFrame) -> dict:
    """What every shard's log says of where it ran."""
    return {
        "shard": name,
        "sample": str(cells["sample"].iloc[0]),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,
    }


def answer_figures(
    model: PreTrainedModel, n_answers: int, stats: Sequence[GenerationStats]
) -> dict[str, object]:
    """How much was said, and how fast."""
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


def context_warning(truncated: np.ndarray, context: int, what: str) -> list[str]:
    """What to say of prompts whose genes were cut, if any were."""
    if not truncated.any():
        return []
    return [
        f"{truncated.sum()} {what} have more genes than the {context} tokens hold that the model's "
        "context has for a prompt: the lowest genes are left out (obs['c2s_truncated'])"
    ]


def told(warnings: list[str]) -> list[str]:
    """The warnings, logged."""
    for warning in warnings:
        LOGGER.warning(warning)
    return warnings
