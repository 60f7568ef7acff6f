"""One task's generated cells, from file to file: what GENERATE does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.batching import peak_memory, resolve_cache_tokens, resolve_max_batch_tokens
from c2sflow.cell_generation import embed_generated, generate_cells
from c2sflow.generation import GenerationStats
from c2sflow.generation_plan import GenerationPlan, organism_genes
from c2sflow.models import load_model, load_tokenizer
from c2sflow.prompts import EMBEDDING_PROMPT, generation_template, load_template
from c2sflow.provenance import read_json, write_json
from c2sflow.shard_tasks import (
    MODEL_OPTIONS,
    batch_share,
    only,
    run_figures,
    told,
    write_answers,
)
from c2sflow.vocabulary import read_vocabulary, words_to_say

LOGGER = logging.getLogger(__name__)
ANSWERING = ("valid_genes_only", "no_repeats", "max_new_tokens", "temperature", "top_p", "seed")


def generate_task(
    plan: GenerationPlan,
    task: int,
    samples: Path,
    sentences_dir: Path,
    outdir: Path,
    options: Mapping[str, object],
) -> None:
    """Write ``<task>.generated.parquet`` and ``<task>.generate.json``.

    The table holds organism, c2s_cell_type, number, the columns of
    `c2sflow.answers.answer_sentences` and X_c2s, a row a cell.

    Parameters
    ----------
    plan, task
        Which cells.
    samples
        samples.json of VALIDATE.
    sentences_dir
        <id>.sentences.json of all samples: the genes that may be said.
    options
        Those of `c2sflow.shard_tasks.embed_shard` and of `c2sflow.cell_generation.generate_cells`;
        generation_prompt, generated_genes, gene_vocabulary_file.
    """
    template = generation_template(options.get("generation_prompt"), plan.cell_types != [""])
    tokenizer = load_tokenizer(options["model"])
    model = load_model(options["model"], head=True, **only(options, MODEL_OPTIONS))
    cells, name = plan.cells(task), plan.task_name(task)
    sheet = read_json(samples)
    summaries = {s["id"]: read_json(sentences_dir / f"{s['id']}.sentences.json") for s in sheet}
    parts, stats = [], []
    for organism, own in cells.groupby("organism", sort=False):
        genes = list(organism_genes(sheet, summaries, organism))
        if options.get("gene_vocabulary_file"):
            genes = words_to_say(genes, read_vocabulary(options["gene_vocabulary_file"]))
        made, figures = _generate(model, tokenizer, own, genes, template, options)
        parts.append(made)
        stats.append(figures)
    generated = pd.concat(parts, ignore_index=True)
    vectors = _embed(model, tokenizer, generated, options)
    write_answers(outdir / f"{name}.generated.parquet", generated, vectors)
    figures = run_figures(model, name, generated.assign(sample="generated cells"))
    figures |= _figures(generated, stats, options) | {
        "peak_memory_bytes": peak_memory(model.device)
    }
    write_json(outdir / f"{name}.generate.json", figures)
    LOGGER.info(
        "%s: %d cells generated, %.0f new tokens/s",
        name, len(generated), figures["tokens_per_second"],
    )  # fmt: skip


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    genes: Sequence[str],
    template: str,
    options: Mapping[str, object],
) -> tuple[pd.DataFrame, GenerationStats]:
    budget = resolve_cache_tokens(options["max_batch_tokens"], model)
    return generate_cells(
        model, tokenizer, cells, genes, template,
        num_genes=options["generated_genes"], **only(options, ANSWERING),
        max_batch_tokens=batch_share(budget, options.get("attempt", 1)),
    )  # fmt: skip


def _embed(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    options: Mapping[str, object],
) -> np.ndarray:
    template = load_template(options["embedding_prompt"], EMBEDDING_PROMPT, ["cell_sentence"])
    budget = resolve_max_batch_tokens(options["max_batch_tokens"], model)
    return embed_generated(
        model, tokenizer, cells, template,
        pooling=options["pooling"], layer=options["embedding_layer"],
        max_batch_tokens=batch_share(budget, options.get("attempt", 1)),
    )  # fmt: skip


def _figures(
    cells: pd.DataFrame, stats: Sequence[GenerationStats], options: Mapping[str, object]
) -> dict:
    seconds = sum(part.seconds for part in stats)
    n_new = sum(part.n_new_tokens for part in stats)
    warnings = []
    if n_cut := int((cells["c2s_finish_reason"] == "length").sum()):
        warnings.append(
            f"{n_cut} generated cells were cut by --max_new_tokens {options['max_new_tokens']}"
        )
    if n_empty := int((cells["c2s_n_predicted_genes"] == 0).sum()):
        warnings.append(f"{n_empty} generated cells hold no gene")
    return {
        "n_predictions": len(cells),
        "n_prompt_tokens": sum(part.n_prompt_tokens for part in stats),
        "n_new_tokens": n_new,
        "max_batch_tokens": min(part.max_batch_tokens for part in stats),
        "seconds": seconds,
        "tokens_per_second": n_new / seconds,
        "warnings": told(warnings),
    }
