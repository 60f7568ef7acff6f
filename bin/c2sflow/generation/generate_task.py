"""One task's generated cells, from file to file: what GENERATE does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2sflow.common.files import read_json_list, write_json
from c2sflow.generation.cells import generate_cells, generated_records, generation_warnings
from c2sflow.generation.plan import GenerationPlan, answer_template, organism_genes
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
from c2sflow.model.tasks import load, log_warnings, pick, run_figures
from c2sflow.model.trained import read_trained
from c2sflow.sentences.organism_words import with_words
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, load_template
from c2sflow.sentences.summaries import SentenceFiles

LOGGER = logging.getLogger(__name__)


def generate_task(
    plan: GenerationPlan,
    task: int,
    samples: Path,
    sentences_dir: Path,
    outdir: Path,
    options: Mapping[str, Any],
) -> None:
    """Write ``<task>.generated.parquet`` and ``<task>.generate.json``.

    The table holds organism, c2s_cell_type or c2s_tissue, number, the columns of
    `c2sflow.generation.answers.answer_sentences` and X_c2s, a row a cell. Of cells that one answer
    holds also group and place; cells that an answer does not have are rows too, marked `MISSING`.

    Parameters
    ----------
    plan, task
        Which cells.
    samples
        samples.json of VALIDATE.
    sentences_dir
        <id>.sentences.json of all samples: the genes that answers may contain.
    options
        Those of `c2sflow.model.embed_shards.embed_shards` and of
        `c2sflow.generation.cells.generate_cells`; generation_prompt, generated_genes,
        gene_vocabulary_file.
    """
    template = answer_template(
        options.get("generation_prompt"), plan.names, several=plan.n_together > 1
    )
    model, tokenizer = load(options, head=True)
    words = read_trained(options["model"]).organism_words
    cells, name = with_words(plan.cells(task), words), plan.task_name(task)
    sheet = read_json_list(samples)
    summaries = SentenceFiles(sentences_dir, [sample["id"] for sample in sheet])
    genes = {
        organism: allowed_genes(organism_genes(sheet, summaries, organism), options)
        for organism in cells["organism"].unique()
    }
    length = answer_length(options)
    generated, stats = generate_cells(
        model, tokenizer, cells, genes, template,
        num_genes=options["generated_genes"], length=length, **pick(options, ANSWERING),
        max_batch_tokens=cache_share(options, model),
    )  # fmt: skip
    prompt = load_template(options["embedding_prompt"], EMBEDDING_PROMPT, ["cell_sentence"])
    records = generated_records(with_words(generated, words))
    vectors = embed_answers(model, tokenizer, records, prompt, options)
    write_answers(outdir / f"{name}.generated.parquet", generated, vectors)
    figures = run_figures(model, name, generated.assign(sample="generated cells"))
    figures |= answer_figures(model, generated, stats, length)
    figures["warnings"] = log_warnings([*cut_warnings(figures), *generation_warnings(generated)])
    write_json(outdir / f"{name}.generate.json", figures)
    LOGGER.info(
        "%s: %d cells generated, %.0f new tokens/s",
        name, len(generated), figures["tokens_per_second"],
    )  # fmt: skip
