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

from c2sflow.batching import peak_memory
from c2sflow.embedding import embed_tokens
from c2sflow.errors import UserError
from c2sflow.models import load_model, load_tokenizer
from c2sflow.perturbation import embed_predictions, predict
from c2sflow.prompts import EMBEDDING_PROMPT, PERTURBATION_PROMPT, check_fields, load_template
from c2sflow.provenance import read_json, write_beside, write_json
from c2sflow.tokenization import tokenize_prompts

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
        raise UserError(f"shard {path.name} cannot be read: {error}") from None


def _run_figures(model: PreTrainedModel, name: str, cells: pd.DataFrame) -> dict:
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
) -> None:
    """Write ``<shard>.embedding.h5ad`` (obs, ``obsm["X_c2s"]``) and ``<shard>.embed.json``.

    Parameters
    ----------
    shard
        Parquet file of SENTENCES.
    options
        model (a directory), device, dtype, attention, quantization: see
        `c2sflow.models.load_model`.
    pooling, layer, max_batch_tokens
        See `c2sflow.embedding.embed_tokens`.
    embedding_prompt
        See `c2sflow.prompts.load_template`.
    """
    cells = read_shard(shard)
    template = load_template(embedding_prompt, EMBEDDING_PROMPT, ["cell_sentence"])
    check_fields(template, cells.columns, shard.name)
    tokenizer = load_tokenizer(options["model"])
    model = load_model(options["model"], head=False, **_only(options, MODEL_OPTIONS))
    context = model.config.max_position_embeddings
    prompts = tokenize_prompts(tokenizer, template, cells.to_dict("records"), context)
    warnings = _warnings(prompts.truncated, prompts.n_tokens, context)
    vectors, stats = embed_tokens(
        model,
        prompts.input_ids,
        tokenizer.pad_token_id,
        pooling=pooling,
        layer=layer,
        max_batch_tokens=max_batch_tokens,
    )
    obs = pd.DataFrame(
        {
            "c2s_n_genes": prompts.n_genes.astype(np.int32),
            "c2s_n_tokens": prompts.n_tokens.astype(np.int32),
            "c2s_truncated": prompts.truncated,
        },
        index=pd.Index(cells["cell_id"].astype(str), name=None),
    )
    with write_beside(outdir / f"{shard.stem}.embedding.h5ad") as partial:
        ad.AnnData(obs=obs, obsm={"X_c2s": vectors}).write_h5ad(partial)
    figures = _run_figures(model, shard.stem, cells) | {
        "n_cells": len(cells),
        "n_tokens": stats.n_tokens,
        "n_padding": stats.n_padding,
        "max_batch_tokens": stats.max_batch_tokens,
        "seconds": stats.seconds,
        "seconds_model": stats.seconds_model,
        "cells_per_second": len(cells) / stats.seconds,
        "tokens_per_second": stats.n_tokens / stats.seconds,
        "peak_memory_bytes": stats.peak_memory_bytes,
        "warnings": warnings,
    }
    write_json(outdir / f"{shard.stem}.embed.json", figures)
    LOGGER.info(
        "%s: %d cells, %.1f cells/s, %.0f tokens/s, %.1f %% padding",
        shard.stem, len(cells), figures["cells_per_second"], figures["tokens_per_second"],
        100 * stats.n_padding / max(1, stats.n_tokens + stats.n_padding),
    )  # fmt: skip


def _only(options: Mapping, names: tuple[str, ...]) -> dict:
    return {name: options[name] for name in names if name in options}


def _warnings(truncated: np.ndarray, n_tokens: np.ndarray, context: int) -> list[str]:
    warnings = []
    if truncated.any():
        warnings.append(
            f"{truncated.sum()} cells have more genes than the model's context of {context} "
            "tokens holds: their lowest genes are left out (obs['c2s_truncated'])"
        )
    if (n_tokens == 0).any():
        warnings.append(f"{(n_tokens == 0).sum()} cells without genes have no embedding (NaN)")
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
        max_new_tokens, temperature, num_samples, seed: see `c2sflow.perturbation.predict`.
    """
    planned = pd.read_parquet(plan)[["cell_id", "perturbation"]]
    cells = planned.merge(
        read_shard(shard).drop(columns="perturbation", errors="ignore"),
        on="cell_id", how="left", validate="many_to_one",
    )  # fmt: skip
    if cells["cell_sentence"].isna().any():
        raise UserError(f"{plan.name} names cells that {shard.name} does not have")
    template = load_template(
        options["perturbation_prompt"], PERTURBATION_PROMPT, ["cell_sentence", "perturbation"]
    )
    embedding_template = load_template(
        options["embedding_prompt"], EMBEDDING_PROMPT, ["cell_sentence"]
    )
    check_fields(template, cells.columns, shard.name)
    check_fields(embedding_template, cells.columns, shard.name)
    tokenizer = load_tokenizer(options["model"])
    model = load_model(options["model"], head=True, **_only(options, MODEL_OPTIONS))
    words = read_json(genes)["genes"]
    names = ("valid_genes_only", "no_repeats", "max_new_tokens", "temperature", "num_samples")
    names += ("seed", "max_batch_tokens")
    predictions, stats = predict(model, tokenizer, cells, words, template, **_only(options, names))
    vectors = embed_predictions(
        model, tokenizer, cells, predictions, embedding_template,
        pooling=options["pooling"], layer=options["embedding_layer"],
        max_batch_tokens=options["max_batch_tokens"],
    )  # fmt: skip
    _write_predictions(outdir / f"{shard.stem}.perturbed.parquet", predictions, vectors)
    figures = _run_figures(model, shard.stem, cells) | {
        "n_predictions": len(predictions),
        "n_prompt_tokens": stats.n_prompt_tokens,
        "n_new_tokens": stats.n_new_tokens,
        "max_batch_tokens": stats.max_batch_tokens,
        "seconds": stats.seconds,
        "tokens_per_second": stats.n_new_tokens / stats.seconds,
        "peak_memory_bytes": peak_memory(model.device),
        "warnings": [],
    }
    write_json(outdir / f"{shard.stem}.perturb.json", figures)
    LOGGER.info(
        "%s: %d predictions, %.0f new tokens/s",
        shard.stem, len(predictions), figures["tokens_per_second"],
    )  # fmt: skip


def _write_predictions(path: Path, predictions: pd.DataFrame, vectors: np.ndarray) -> None:
    table = pa.Table.from_pandas(predictions, preserve_index=False)
    flat = pa.array(vectors.astype(np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    with write_beside(path) as partial:
        pq.write_table(table.append_column("X_c2s", column), partial, compression="zstd")
