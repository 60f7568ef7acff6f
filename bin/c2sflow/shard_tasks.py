"""One shard, from file to file: what EMBED and PERTURB do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedModel

from c2sflow.batching import peak_memory, resolve_cache_tokens, resolve_max_batch_tokens
from c2sflow.embedding import embed_cells
from c2sflow.errors import UserError
from c2sflow.models import load_model, load_tokenizer
from c2sflow.perturbation import embed_predictions, predict
from c2sflow.perturbations import prompt_text
from c2sflow.prompts import (
    EMBEDDING_PROMPT,
    PERTURBATION_PROMPT,
    check_fields,
    load_template,
    template_fields,
)
from c2sflow.provenance import (
    MODEL_SOFTWARE,
    read_json,
    remedy,
    software_versions,
    write_beside,
    write_json,
)
from c2sflow.vocabulary import read_vocabulary, words_to_say

LOGGER = logging.getLogger(__name__)
MODEL_OPTIONS = ("device", "dtype", "attention", "quantization")


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


def run_figures(model: PreTrainedModel, name: str, cells: pd.DataFrame) -> dict:
    """What every shard's log says of where it ran."""
    return {
        "shard": name,
        "sample": str(cells["sample"].iloc[0]),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,
    }


def embed_shard(
    shard: Path,
    outdir: Path,
    options: Mapping[str, str],
    *,
    pooling: str = "mean",
    embedding_prompt: str | None = None,
    layer: int = -1,
    max_batch_tokens: int | str | None = "auto",
    attempt: int = 1,
) -> None:
    """Write ``<shard>.embedding.h5ad`` (obs, ``obsm["X_c2s"]``, ``uns``), ``<shard>.embed.json``.

    Parameters
    ----------
    shard
        Parquet file of SENTENCES.
    options
        model (a directory), device, dtype, attention, quantization: see
        `c2sflow.models.load_model`.
    pooling, layer, max_batch_tokens
        See `c2sflow.embedding.embed_cells`.
    embedding_prompt
        See `c2sflow.prompts.load_template`.
    attempt
        1, or more where memory ran out before: each has half the budget of the one before.
    """
    cells = read_shard(shard)
    template = load_template(embedding_prompt, EMBEDDING_PROMPT, ["cell_sentence"])
    check_fields(template, cells.columns, shard.name)
    tokenizer = load_tokenizer(options["model"])
    model = load_model(options["model"], head=False, **only(options, MODEL_OPTIONS))
    made = embed_cells(
        model,
        tokenizer,
        template,
        cells.to_dict("records"),
        pooling=pooling,
        layer=layer,
        max_batch_tokens=batch_share(resolve_max_batch_tokens(max_batch_tokens, model), attempt),
    )
    stats = made.stats
    context = model.config.max_position_embeddings
    warnings = context_warning(made.truncated, context, "cells")
    if (made.n_tokens == 0).any():
        n_empty = (made.n_tokens == 0).sum()
        warnings.append(f"{n_empty} cells without genes have no embedding (NaN)")
    obs = pd.DataFrame(
        {
            "c2s_n_genes": made.n_genes,
            "c2s_n_tokens": made.n_tokens,
            "c2s_truncated": made.truncated,
        },
        index=pd.Index(cells["cell_id"].astype(str), name=None),
    )
    with write_beside(outdir / f"{shard.stem}.embedding.h5ad") as partial:
        uns = {"software": software_versions(MODEL_SOFTWARE)}
        ad.AnnData(obs=obs, obsm={"X_c2s": made.vectors}, uns=uns).write_h5ad(partial)
    figures = run_figures(model, shard.stem, cells) | {
        "n_cells": len(cells),
        "n_tokens": stats.n_tokens,
        "n_padding": stats.n_padding,
        "max_batch_tokens": stats.max_batch_tokens,
        "seconds": stats.seconds,
        "seconds_model": stats.seconds_model,
        "cells_per_second": len(cells) / stats.seconds,
        "tokens_per_second": stats.n_tokens / stats.seconds,
        "peak_memory_bytes": stats.peak_memory_bytes,
        "warnings": told(warnings),
    }
    write_json(outdir / f"{shard.stem}.embed.json", figures)
    LOGGER.info(
        "%s: %d cells, %.1f cells/s, %.0f tokens/s, %.1f %% padding",
        shard.stem, len(cells), figures["cells_per_second"], figures["tokens_per_second"],
        100 * stats.padding_fraction,
    )  # fmt: skip


def batch_share(budget: int, attempt: int) -> int:
    """Tokens of a batch at the first, second, … attempt."""
    return max(1, budget >> (attempt - 1))


def only(options: Mapping, names: tuple[str, ...]) -> dict:
    """Those of the options that are given."""
    return {name: options[name] for name in names if name in options}


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


def perturb_shard(
    shard: Path, plan: Path, genes: Path, outdir: Path, options: Mapping[str, object]
) -> None:
    """Write ``<shard>.perturbed.parquet`` and ``<shard>.perturb.json``.

    Parameters
    ----------
    shard, plan
        Parquet files of SENTENCES and PLAN.
    genes
        ``<id>.sentences.json`` of the shard's sample.
    options
        Those of `embed_shard`, and perturbation_prompt, valid_genes_only, no_repeats,
        gene_vocabulary_file, max_new_tokens, temperature, top_p, num_samples, seed: see
        `c2sflow.perturbation.predict`;
        attempt: see `embed_shard`.
    """
    template = load_template(
        options["perturbation_prompt"], PERTURBATION_PROMPT, ["cell_sentence", "perturbation"]
    )
    planned = pd.read_parquet(plan).drop(columns="shard")
    cells = _cells_to_perturb(planned, read_shard(shard), template)
    if cells["cell_sentence"].isna().any():
        raise UserError(f"{plan.name} names cells that {shard.name} does not have")
    embedding_template = load_template(
        options["embedding_prompt"], EMBEDDING_PROMPT, ["cell_sentence"]
    )
    check_fields(template, cells.columns, shard.name)
    check_fields(embedding_template, cells.columns, shard.name)
    tokenizer = load_tokenizer(options["model"])
    model = load_model(options["model"], head=True, **only(options, MODEL_OPTIONS))
    words = read_json(genes)["genes"]
    if options.get("gene_vocabulary_file"):
        words = words_to_say(words, read_vocabulary(options["gene_vocabulary_file"]))
    names = ("valid_genes_only", "no_repeats", "max_new_tokens", "temperature", "num_samples")
    names += ("top_p", "seed")
    budget, attempt = options["max_batch_tokens"], options.get("attempt", 1)
    predictions, stats = predict(
        model, tokenizer, cells, words, template, **only(options, names),
        max_batch_tokens=batch_share(resolve_cache_tokens(budget, model), attempt),
    )  # fmt: skip
    context = model.config.max_position_embeddings - int(options["max_new_tokens"])
    warnings = context_warning(predictions["c2s_truncated"], context, "predictions")
    vectors = embed_predictions(
        model, tokenizer, cells, predictions, embedding_template,
        pooling=options["pooling"], layer=options["embedding_layer"],
        max_batch_tokens=batch_share(resolve_max_batch_tokens(budget, model), attempt),
    )  # fmt: skip
    # Answers come in the order of the plan, those of one prediction together.
    answers = len(predictions) // max(1, len(planned))
    for name in planned.columns.drop("cell_id"):
        predictions[name] = planned[name].repeat(answers).to_numpy()
    write_answers(outdir / f"{shard.stem}.perturbed.parquet", predictions, vectors)
    figures = run_figures(model, shard.stem, cells) | {
        "n_predictions": len(predictions),
        "n_prompt_tokens": stats.n_prompt_tokens,
        "n_new_tokens": stats.n_new_tokens,
        "max_batch_tokens": stats.max_batch_tokens,
        "seconds": stats.seconds,
        "tokens_per_second": stats.n_new_tokens / stats.seconds,
        "peak_memory_bytes": peak_memory(model.device),
        "warnings": told(warnings),
    }
    write_json(outdir / f"{shard.stem}.perturb.json", figures)
    LOGGER.info(
        "%s: %d predictions, %.0f new tokens/s",
        shard.stem, len(predictions), figures["tokens_per_second"],
    )  # fmt: skip


def _cells_to_perturb(planned: pd.DataFrame, cells: pd.DataFrame, template: str) -> pd.DataFrame:
    """A row for each of the plan, with what the prompt may use of it and of the cell."""
    fields = template_fields(template)
    own = planned.rename(columns={"condition": "c2s_condition"})  # obs may have its own
    own["perturbation"] = [prompt_text(row, fields) for row in own.to_dict("records")]
    rest = cells.drop(columns=own.columns.drop("cell_id"), errors="ignore")
    return own.merge(rest, on="cell_id", how="left", validate="many_to_one")


def write_answers(path: Path, answers: pd.DataFrame, vectors: np.ndarray) -> None:
    """Write answers and their embeddings, float32 (n_answers, hidden_size), as Parquet."""
    table = pa.Table.from_pandas(answers, preserve_index=False)
    flat = pa.array(vectors.astype(np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    with write_beside(path) as partial:
        table = table.append_column("X_c2s", column)
        # In groups, so that MERGE can read them by blocks.
        pq.write_table(table, partial, compression="zstd", row_group_size=2048)
