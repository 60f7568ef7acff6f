"""One shard's cell types, from file to file: what ANNOTATE does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from c2sflow.common.files import write_beside, write_json
from c2sflow.generation.annotation import (
    annotation_warnings,
    labels_to_choose_from,
    without_type,
)
from c2sflow.generation.annotation_wordings import annotate_wordings
from c2sflow.model.batching import peak_memory, resolve_cache_tokens
from c2sflow.model.tasks import (
    batch_share,
    load,
    log_warnings,
    read_shard,
    run_figures,
)
from c2sflow.sentences.prompts import ANNOTATION_PROMPT, check_fields, load_template
from c2sflow.sentences.variants import Variant, variants_of

LOGGER = logging.getLogger(__name__)


def annotate_shard(
    shard: Path,
    outdir: Path,
    options: Mapping[str, str],
    *,
    cell_types: str | None = None,
    annotation_prompt: str | None = None,
    prompt_variant: Variant = None,
    max_batch_tokens: int | str | None = "auto",
    attempt: int = 1,
) -> None:
    """Write ``<shard>.annotation.parquet`` and ``<shard>.annotate.json``.

    The table holds cell_id and the columns of `c2sflow.generation.annotation.Annotation`, a row a
    cell.

    Parameters
    ----------
    shard
        Parquet file of SENTENCES.
    options
        model (a directory), device, dtype, attention, quantization: see
        `c2sflow.model.loading.load_model`.
    cell_types
        See `c2sflow.generation.annotation.labels_to_choose_from`.
    annotation_prompt
        See `c2sflow.sentences.prompts.load_template`.
    prompt_variant
        See `c2sflow.sentences.variants.variants_of`. With "all" the table has
        c2s_cell_type_spread.
    max_batch_tokens
        See `c2sflow.generation.annotation.annotate`.
    attempt
        1, or more where memory ran out before: each has half the budget of the one before.
    """
    cells = read_shard(shard, options["model"])
    template = load_template(annotation_prompt, ANNOTATION_PROMPT, ["cell_sentence"])
    check_fields(template, cells.columns, shard.name)
    templates = variants_of(template, "annotation_prompt", prompt_variant)
    labels, source = labels_to_choose_from(cell_types, options["model"])
    model, tokenizer = load(options, head=True)
    budget = batch_share(resolve_cache_tokens(max_batch_tokens, model), attempt)
    annotated = annotate_wordings(
        model, tokenizer, cells, templates, labels, max_batch_tokens=budget
    )
    table = annotated.table.copy()
    table.insert(0, "cell_id", cells["cell_id"].astype(str).to_numpy())
    with write_beside(outdir / f"{shard.stem}.annotation.parquet") as partial:
        table.to_parquet(partial, index=False)
    seconds = annotated.stats.seconds
    coverage = annotated.coverage[np.isfinite(annotated.coverage)]
    figures = run_figures(model, shard.stem, cells) | {
        "n_cells": len(cells),
        "n_labels": len(labels) if labels else 0,
        "labels_from": source,
        "without_type": without_type(table),
        "coverage": float(coverage.mean()) if coverage.size else None,
        "n_prompt_tokens": annotated.stats.n_prompt_tokens,
        "max_batch_tokens": annotated.stats.max_batch_tokens,
        "seconds": seconds,
        "cells_per_second": len(cells) / seconds,
        "tokens_per_second": annotated.stats.n_prompt_tokens / seconds,
        "peak_memory_bytes": peak_memory(model.device),
        "warnings": log_warnings(
            annotation_warnings(annotated, model.config.max_position_embeddings)
        ),
    }
    write_json(outdir / f"{shard.stem}.annotate.json", figures)
    LOGGER.info(
        "%s: %d cells annotated, %.1f cells/s", shard.stem, len(cells), figures["cells_per_second"]
    )
