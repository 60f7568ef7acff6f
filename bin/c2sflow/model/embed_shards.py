"""Embeddings of shards, from file to file: what EMBED does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from transformers import PreTrainedModel

from c2sflow.common.files import (
    MODEL_SOFTWARE,
    software_versions,
    write_json,
)
from c2sflow.common.progress import in_parts
from c2sflow.model.batching import resolve_max_batch_tokens
from c2sflow.model.embedding_engine import Embeddings
from c2sflow.model.embedding_files import write_embedding
from c2sflow.model.pooling import Pooling
from c2sflow.model.tasks import (
    batch_share,
    context_warning,
    load,
    log_warnings,
    read_shard,
    run_figures,
)
from c2sflow.model.wordings import embed_wordings
from c2sflow.sentences.groups.prompts import GROUP_PROMPT
from c2sflow.sentences.groups.text import hold_groups
from c2sflow.sentences.prompts import (
    EMBEDDING_PROMPT,
    check_fields,
    load_template,
)
from c2sflow.sentences.variants import Variant, variants_of

LOGGER = logging.getLogger(__name__)


def embed_shards(
    shards: Sequence[Path],
    outdir: Path,
    options: Mapping[str, str],
    *,
    pooling: Pooling = "mean",
    embedding_prompt: str | None = None,
    prompt_variant: Variant = None,
    layer: int = -1,
    max_batch_tokens: int | str | None = "auto",
    attempt: int = 1,
) -> None:
    """Write ``<shard>.embedding.h5ad`` (obs, ``obsm["X_c2s"]``, ``uns``), ``<shard>.embed.json``.

    Parameters
    ----------
    shards
        Parquet files of SENTENCES; the model is loaded once for all of them.
    options
        model (a directory), device, dtype, attention, quantization, compile_cache: see
        `c2sflow.model.tasks.load`.
    pooling, layer, max_batch_tokens
        See `c2sflow.model.embedding.embed_cells`.
    embedding_prompt
        See `c2sflow.sentences.prompts.load_template`; the built-in one of a shard of groups is
        theirs.
    prompt_variant
        See `c2sflow.sentences.variants.variants_of`. With "all" obs has c2s_embedding_spread.
    attempt
        1, or more where memory ran out before: each has half the budget of the one before.
    """
    tables = [read_shard(shard, options["model"]) for shard in shards]
    prompts = [
        _templates(shard.name, cells, embedding_prompt, prompt_variant)
        for shard, cells in zip(shards, tables, strict=True)
    ]
    model, tokenizer = load(options, head=False)
    budget = batch_share(resolve_max_batch_tokens(max_batch_tokens, model), attempt)
    work = list(zip(shards, tables, prompts, strict=True))
    for shard, cells, templates in in_parts(work, [len(cells) for cells in tables]):
        embedded = embed_wordings(
            model,
            tokenizer,
            templates,
            cells.to_dict("records"),
            pooling=pooling,
            layer=layer,
            max_batch_tokens=budget,
        )
        _write(outdir, shard.stem, cells, embedded, model)


def _templates(
    name: str, cells: pd.DataFrame, given: str | None, variant: Variant
) -> Sequence[str]:
    """The wordings of a shard's prompt, which may use its columns."""
    of_groups = hold_groups(cells["cell_sentence"])
    default = GROUP_PROMPT if of_groups else EMBEDDING_PROMPT
    template = load_template(given, default, ["cell_sentence"])
    check_fields(template, cells.columns, name)
    return variants_of(template, "group_prompt" if of_groups else "embedding_prompt", variant)


def _write(
    outdir: Path, name: str, cells: pd.DataFrame, embedded: Embeddings, model: PreTrainedModel
) -> None:
    """One shard's embedding and figures."""
    stats = embedded.stats
    context = model.config.max_position_embeddings
    warnings = context_warning(embedded.truncated, context, "cells")
    if (embedded.n_tokens == 0).any():
        n_empty = (embedded.n_tokens == 0).sum()
        warnings.append(f"{n_empty} cells without genes have no embedding (NaN)")
    obs = pd.DataFrame(
        {
            "c2s_n_genes": embedded.n_genes,
            "c2s_n_tokens": embedded.n_tokens,
            "c2s_truncated": embedded.truncated,
        },
        index=pd.Index(cells["cell_id"].astype(str), name=None),
    )
    if embedded.spread is not None:
        obs["c2s_embedding_spread"] = embedded.spread
    uns = {"software": software_versions(MODEL_SOFTWARE)}
    write_embedding(outdir / f"{name}.embedding.h5ad", obs, embedded.vectors, uns)
    figures = run_figures(model, name, cells) | {
        "n_cells": len(cells),
        "n_tokens": stats.n_tokens,
        "n_padding": stats.n_padding,
        "fused": stats.fused,
        "max_batch_tokens": stats.max_batch_tokens,
        "seconds": stats.seconds,
        "seconds_model": stats.seconds_model,
        "cells_per_second": len(cells) / stats.seconds,
        "tokens_per_second": stats.n_tokens / stats.seconds,
        "peak_memory_bytes": stats.peak_memory_bytes,
        "warnings": log_warnings(warnings),
    }
    write_json(outdir / f"{name}.embed.json", figures)
    LOGGER.info(
        "%s: %d cells, %.1f cells/s, %.0f tokens/s, %.1f %% padding",
        name, len(cells), figures["cells_per_second"], figures["tokens_per_second"],
        100 * stats.padding_fraction,
    )  # fmt: skip
