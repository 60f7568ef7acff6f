"""What the tasks of a model have in common: shards, budgets, warnings and logged figures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.common.parquet import read_parquet
from c2sflow.model.compile_cache import use_compile_cache
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.option_faults import model_option_faults
from c2sflow.model.placement import resolve_device
from c2sflow.model.trained import read_trained
from c2sflow.sentences.organism_words import with_words

LOGGER = logging.getLogger(__name__)
MODEL_OPTIONS = ("device", "dtype", "attention", "quantization")


def read_shard(path: Path, model: str | Path) -> pd.DataFrame:
    """Cells of a shard: cell_id, sample, organism, cell_sentence, n_genes and the obs columns.

    Parameters
    ----------
    model
        Directory of the model that is asked about them, in its own words for their organisms: see
        `c2sflow.sentences.organism_words`.

    Raises
    ------
    UserError
        If the file is missing or broken, or the model's record is.
    """
    cells = read_parquet(path, of="shard ").to_pandas()
    return with_words(cells, read_trained(model).organism_words)


def load(options: Mapping[str, Any], head: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a task: see `c2sflow.model.loading.load_model`.

    Parameters
    ----------
    options
        model (a directory), `MODEL_OPTIONS` and compile_cache as far as given.

    Raises
    ------
    UserError
        If the options do not go together.
    """
    if faults := model_option_faults(options):
        raise UserError("; ".join(faults))
    directory, where = options["model"], pick(options, MODEL_OPTIONS)
    use_compile_cache(options.get("compile_cache"), resolve_device(options.get("device", "auto")))
    tokenizer = load_tokenizer(directory)
    return load_model(directory, head=head, **where), tokenizer


def pick(options: Mapping, names: tuple[str, ...]) -> dict:
    """Those of the options that are given."""
    return {name: options[name] for name in names if name in options}


def batch_share(budget: int, attempt: int) -> int:
    """Tokens of a batch at the first, second, … attempt."""
    return max(1, budget >> (attempt - 1))


def run_figures(model: PreTrainedModel, name: str, cells: pd.DataFrame) -> dict:
    """Where the shard ran, for its log."""
    return {
        "shard": name,
        "sample": str(cells["sample"].iloc[0]),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,
    }


def context_warning(truncated: np.ndarray, context: int, what: str) -> list[str]:
    """Warnings about prompts whose genes were cut, if any were."""
    if not truncated.any():
        return []
    return [
        f"{truncated.sum()} {what} have more genes than the {context} tokens hold that the model's "
        "context has for a prompt: the lowest genes are left out (obs['c2s_truncated'])"
    ]


def log_warnings(warnings: list[str]) -> list[str]:
    """The warnings, logged."""
    for warning in warnings:
        LOGGER.warning(warning)
    return warnings
