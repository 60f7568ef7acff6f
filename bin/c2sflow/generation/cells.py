"""Generated cells: prompts with or without a cell type, and the generated sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Unpack

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.generation.answers import AnswerOptions, GeneVocabulary, answer_sentences
from c2sflow.generation.decoding import GenerationStats
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.sentences.organism_words import WORD
from c2sflow.sentences.prompts import fill


def generate_cells(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    genes: Mapping[str, Collection[str]],
    template: str,
    *,
    num_genes: int = 100,
    length: AnswerLength | None = None,
    **options: Unpack[AnswerOptions],
) -> tuple[pd.DataFrame, list[GenerationStats]]:
    """Generate the sentence of each cell.

    Parameters
    ----------
    cells
        A row a cell: organism, perhaps the model's word for it
        (`c2sflow.sentences.organism_words`), c2s_cell_type ("" for none) and number, unique for
        cells of one type: with the seed it decides what is drawn, whatever the batch or the task.
    genes
        For each organism the words that its cells may contain; other words count as invalid.
    template
        Generation prompt: may hold {num_genes}, {organism} and {cell_type}.
    num_genes
        What {num_genes} asks for.
    length
        How long an answer may be; None for the defaults.
    model, tokenizer, options
        See `c2sflow.generation.answers.answer_sentences`.

    Returns
    -------
    The cells, an organism after the other, with the columns of `answer_sentences`; and the figures
    of the run, of each organism.

    Raises
    ------
    UserError
        If prompt and answer do not fit into the model's context.
    """
    tables, stats = [], []
    for organism, own in cells.groupby("organism", sort=False):
        answers, figures = _answers(
            model, tokenizer, own, genes[str(organism)], template, num_genes,
            length or AnswerLength(), **options,
        )  # fmt: skip
        own = own.drop(columns=WORD, errors="ignore").reset_index(drop=True)
        tables.append(pd.concat([own, answers], axis=1))
        stats.append(figures)
    return pd.concat(tables, ignore_index=True), stats


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    genes: Collection[str],
    template: str,
    num_genes: int,
    length: AnswerLength,
    **options: Unpack[AnswerOptions],
) -> tuple[pd.DataFrame, GenerationStats]:
    kinds = ["organism", "c2s_cell_type"]
    distinct = cells.drop_duplicates(kinds)
    texts = [
        fill(template, {**record, "cell_type": record["c2s_cell_type"], "n_genes": num_genes})
        for record in distinct.to_dict("records")
    ]
    tokens = [np.asarray(ids, dtype=np.int32) for ids in tokenizer(texts)["input_ids"]]
    longest, context = max(map(len, tokens), default=0), model.config.max_position_embeddings
    vocabulary = GeneVocabulary(tokenizer, genes)
    limit = vocabulary.limit(length, model, options)
    if longest + limit.n_tokens > context:
        raise UserError(
            f"the prompt has {longest} tokens, the answer up to {limit.n_tokens}, and the model "
            f"takes {context} together; shorten the prompt, or the answer with --max_answer_genes "
            "or --max_new_tokens"
        )
    named = distinct[kinds].itertuples(index=False, name=None)
    prompts = dict(zip(named, tokens, strict=True))
    rows = list(cells[[*kinds, "number"]].itertuples(index=False, name=None))
    return answer_sentences(
        model,
        tokenizer,
        [prompts[row[:2]] for row in rows],
        ["|".join(map(str, ("generated", *row))) for row in rows],
        vocabulary,
        limit,
        **options,
    )


def generated_records(cells: pd.DataFrame) -> list[dict[str, object]]:
    """Cells of `generate_cells` as `c2sflow.model.embedding.embed_cells` takes them.

    A prompt may use their cell_sentence, num_genes, organism and cell_type.
    """
    names = {
        "c2s_sentence": "cell_sentence", "c2s_n_predicted_genes": "n_genes",
        "c2s_cell_type": "cell_type", "organism": "organism",
    }  # fmt: skip
    word = cells.columns.intersection([WORD])
    return cells[[*names, *word]].rename(columns=names).to_dict("records")
