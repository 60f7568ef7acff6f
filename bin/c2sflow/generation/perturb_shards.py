"""Predicted cells of shards, from file to file: what PERTURB does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.common.files import (
    read_json,
    write_json,
)
from c2sflow.common.parquet import read_parquet
from c2sflow.common.progress import in_parts
from c2sflow.generation.perturbation import predict, predicted_records
from c2sflow.generation.tasks import (
    ANSWERING,
    allowed_genes,
    answer_figures,
    answer_length,
    cache_share,
    cut_warnings,
    embed_answers,
    write_answers,
)
from c2sflow.inputs.perturbations import prompt_text
from c2sflow.model.tasks import (
    context_warning,
    load,
    log_warnings,
    pick,
    read_shard,
    run_figures,
)
from c2sflow.sentences.prompts import (
    EMBEDDING_PROMPT,
    PERTURBATION_PROMPT,
    check_fields,
    load_template,
    template_fields,
)

LOGGER = logging.getLogger(__name__)


def perturb_shards(
    shards: Sequence[Path],
    plans: Sequence[Path],
    genes: Sequence[Path],
    outdir: Path,
    options: Mapping[str, Any],
) -> None:
    """Write ``<shard>.perturbed.parquet`` and ``<shard>.perturb.json``.

    Parameters
    ----------
    shards, plans
        Parquet files of SENTENCES and PLAN; the model is loaded once for all of them.
    genes
        ``<id>.sentences.json`` of each shard's sample.
    options
        Those of `embed_shards`, and perturbation_prompt, valid_genes_only, no_repeats,
        gene_vocabulary_file, temperature, top_p, num_samples, seed, likelihood: see
        `c2sflow.generation.perturbation.predict`; max_answer_genes, max_new_tokens: see
        `c2sflow.model.answer_limits.AnswerLength`; attempt: see `embed_shards`.
    """
    template = load_template(
        options["perturbation_prompt"], PERTURBATION_PROMPT, ["cell_sentence", "perturbation"]
    )
    embedding_template = load_template(
        options["embedding_prompt"], EMBEDDING_PROMPT, ["cell_sentence"]
    )
    planned = [read_parquet(plan).to_pandas().drop(columns="shard") for plan in plans]
    tables = [
        _cells_to_perturb(own, read_shard(shard, options["model"]), template, plan.name, shard.name)
        for own, shard, plan in zip(planned, shards, plans, strict=True)
    ]
    for shard, cells in zip(shards, tables, strict=True):
        check_fields(template, cells.columns, shard.name)
        check_fields(embedding_template, cells.columns, shard.name)
    model, tokenizer = load(options, head=True)
    answers = [len(own) * options.get("num_samples", 1) for own in planned]
    work = list(zip(shards, genes, planned, tables, strict=True))
    for shard, own_genes, own, cells in in_parts(work, answers):
        words = allowed_genes(read_json(own_genes)["genes"], options)
        templates = template, embedding_template
        _predict(outdir, shard.stem, own, cells, words, templates, (model, tokenizer), options)


def _predict(
    outdir: Path,
    name: str,
    planned: pd.DataFrame,
    cells: pd.DataFrame,
    words: Sequence[str],
    templates: tuple[str, str],
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    options: Mapping[str, Any],
) -> None:
    """One shard's predicted cells and figures."""
    (template, embedding_template), (model, tokenizer) = templates, loaded
    length = answer_length(options)
    predictions, stats = predict(
        model, tokenizer, cells, words, template,
        length=length, **pick(options, (*ANSWERING, "num_samples")),
        max_batch_tokens=cache_share(options, model),
    )  # fmt: skip
    warnings = context_warning(predictions["c2s_truncated"], stats.room, "predictions")
    records = predicted_records(cells, predictions)
    vectors = embed_answers(model, tokenizer, records, embedding_template, options)
    # Answers come in the order of the plan, those of one prediction together.
    answers = len(predictions) // max(1, len(planned))
    for column in planned.columns.drop("cell_id"):
        predictions[column] = planned[column].repeat(answers).to_numpy()
    write_answers(outdir / f"{name}.perturbed.parquet", predictions, vectors)
    figures = run_figures(model, name, cells)
    figures |= answer_figures(model, predictions, [stats], length)
    figures["warnings"] = log_warnings([*warnings, *cut_warnings(figures)])
    write_json(outdir / f"{name}.perturb.json", figures)
    LOGGER.info(
        "%s: %d predictions, %.0f new tokens/s",
        name, len(predictions), figures["tokens_per_second"],
    )  # fmt: skip


def _cells_to_perturb(
    planned: pd.DataFrame, cells: pd.DataFrame, template: str, plan: str, shard: str
) -> pd.DataFrame:
    """A row for each of the plan, with what the prompt may use of it and of the cell."""
    fields = template_fields(template)
    own = planned.rename(columns={"condition": "c2s_condition"})  # obs may have its own
    own["perturbation"] = [prompt_text(row, fields) for row in own.to_dict("records")]
    rest = cells.drop(columns=own.columns.drop("cell_id"), errors="ignore")
    asked = own.merge(rest, on="cell_id", how="left", validate="many_to_one")
    if asked["cell_sentence"].isna().any():
        raise UserError(f"{plan} names cells that {shard} does not have")
    return asked
