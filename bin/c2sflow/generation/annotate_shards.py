"""Labels of shards, from file to file: what ANNOTATE does."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedModel

from c2sflow.common.files import write_beside, write_json
from c2sflow.common.progress import in_parts
from c2sflow.data.label_tables import CANDIDATES
from c2sflow.generation.annotation import Annotation, Question, annotate_questions
from c2sflow.generation.annotation_questions import Asking
from c2sflow.generation.annotation_warnings import annotation_warnings, without_label
from c2sflow.inputs.labels import CELL, GROUP, Label
from c2sflow.model.batching import peak_memory, resolve_cache_tokens
from c2sflow.model.tasks import batch_share, load, log_warnings, read_shard, run_figures
from c2sflow.sentences.groups.shards import NUM_CELLS
from c2sflow.sentences.prompts import check_fields

LOGGER = logging.getLogger(__name__)


def annotate_shards(
    shards: Sequence[Path],
    outdir: Path,
    options: Mapping[str, str],
    asking: Asking | None = None,
    labels: Sequence[Label] = (),
    *,
    max_batch_tokens: int | str | None = "auto",
    attempt: int = 1,
) -> None:
    """Write ``<shard>.annotation.parquet`` and ``<shard>.annotate.json``.

    The table holds cell_id and of each label the columns of
    `c2sflow.generation.annotation.Annotation`, a row a cell; and of labels that are chosen
    c2s_<name>_scores, the log-probability of each candidate (float32), in the order of the
    candidates, which the file's metadata names.

    Parameters
    ----------
    shards
        Parquet files of SENTENCES; the model is loaded once for all of them.
    options
        model (a directory), device, dtype, attention, quantization: see
        `c2sflow.model.loading.load_model`.
    asking
        How labels are asked for; None for the defaults.
    labels
        What is asked for; without any the cell type. Of shards of groups those of groups.
    max_batch_tokens
        See `c2sflow.generation.annotation.annotate_questions`.
    attempt
        1, or more where memory ran out before: each has half the budget of the one before.
    """
    tables = [read_shard(shard, options["model"]) for shard in shards]
    level = GROUP if NUM_CELLS in tables[0] else CELL
    own = [label for label in labels or [Label(level=level)] if label.level == level]
    questions, sources = (asking or Asking()).questions(own, options["model"])
    for shard, cells in zip(shards, tables, strict=True):
        for question in questions:
            check_fields(question.templates[0], cells.columns, shard.name)
    model, tokenizer = load(options, head=True)
    budget = batch_share(resolve_cache_tokens(max_batch_tokens, model), attempt)
    work = list(zip(shards, tables, strict=True))
    for shard, cells in in_parts(work, [len(cells) for cells in tables]):
        annotated = annotate_questions(model, tokenizer, cells, questions, max_batch_tokens=budget)
        _write(outdir, shard.stem, cells, questions, sources, annotated, model)


def _write(
    outdir: Path,
    name: str,
    cells: pd.DataFrame,
    questions: Sequence[Question],
    sources: Mapping[str, str],
    annotated: Mapping[str, Annotation],
    model: PreTrainedModel,
) -> None:
    """One shard's labels and figures."""
    ids = cells["cell_id"].astype(str).to_numpy()
    with write_beside(outdir / f"{name}.annotation.parquet") as partial:
        pq.write_table(_table(ids, questions, annotated), partial)
    stats = list({id(one.stats): one.stats for one in annotated.values()}.values())
    seconds, n_tokens = (
        sum(getattr(one, name) for one in stats) for name in ("seconds", "n_prompt_tokens")
    )
    figures = run_figures(model, name, cells) | {
        "n_cells": len(cells),
        "n_labels": sum(len(question.candidates or ()) for question in questions),
        "labels": {
            question.label.name: _figures(question, sources, annotated[question.label.name])
            for question in questions
        },
        "n_prompt_tokens": n_tokens,
        "max_batch_tokens": min(one.max_batch_tokens for one in stats),
        "seconds": seconds,
        "cells_per_second": len(cells) / seconds,
        "tokens_per_second": n_tokens / seconds,
        "peak_memory_bytes": peak_memory(model.device),
        "warnings": log_warnings(
            annotation_warnings(annotated, model.config.max_position_embeddings)
        ),
    }
    write_json(outdir / f"{name}.annotate.json", figures)
    LOGGER.info(
        "%s: %d cells annotated, %.1f cells/s", name, len(cells), figures["cells_per_second"]
    )


def _table(
    ids: np.ndarray, questions: Sequence[Question], annotated: Mapping[str, Annotation]
) -> pa.Table:
    """Columns of all labels, with the names of their candidates."""
    frame = pd.DataFrame({"cell_id": ids})
    candidates = {}
    for question in questions:
        label, one = question.label, annotated[question.label.name]
        frame = pd.concat([frame, one.table], axis=1)
        if one.chances is not None:
            with np.errstate(divide="ignore"):
                scores = np.log(one.chances).astype(np.float32)
            frame[f"{label.column}_scores"] = list(scores)
            candidates[label.column] = question.candidates
    table = pa.Table.from_pandas(frame, preserve_index=False)
    named = {CANDIDATES: json.dumps(candidates, ensure_ascii=False).encode()}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **named})


def _figures(question: Question, sources: Mapping[str, str], one: Annotation) -> dict:
    """What the report shows of one label."""
    name = question.label.name
    coverage = one.coverage[np.isfinite(one.coverage)]
    return {
        "n_labels": len(question.candidates or ()),
        "labels_from": sources[name],
        "without": without_label(one.table, name),
        "coverage": float(coverage.mean()) if coverage.size else None,
        "min_probability": question.label.min_probability,
    }
