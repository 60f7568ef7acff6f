"""Generated cells: prompts with or without a cell type, and the generated sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Unpack

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.data.own_columns import PREFIX, generated_column
from c2sflow.generation.answers import AnswerOptions, GeneVocabulary, answer_sentences
from c2sflow.generation.cell_answers import CellVocabulary, answer_cells
from c2sflow.generation.decoding import GenerationStats
from c2sflow.generation.plan import GROUP, MISSING
from c2sflow.model.answer_limits import AnswerLength, AnswerLimit
from c2sflow.sentences.groups.prompts import NUM_CELLS, opened
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
    """Generate the sentence of each cell, alone or in a group.

    Parameters
    ----------
    cells
        A row a cell: organism, perhaps the model's word for it
        (`c2sflow.sentences.organism_words`), c2s_cell_type or c2s_tissue ("" for none) and number,
        unique for cells of one type: with the seed it decides what is drawn, whatever the batch or
        the task. Of cells that one answer holds also group, place and num_cells, as
        `c2sflow.generation.plan.GenerationPlan.cells` gives them: then the group decides.
    genes
        For each organism the words that its cells may contain; other words count as invalid.
    template
        Generation prompt: may hold {num_genes}, {organism} and {cell_type}; of groups {num_cells}
        and {tissue} too.
    num_genes
        What {num_genes} asks for.
    length
        How long an answer may be; None for the defaults.
    model, tokenizer, options
        See `c2sflow.generation.answers.answer_sentences`.

    Returns
    -------
    The cells, an organism after the other, with the columns of `answer_sentences`, of groups those
    of `c2sflow.generation.cell_answers.answer_cells`; and the figures of the runs.

    Raises
    ------
    UserError
        If prompt and answer do not fit into the model's context.
    """
    tables, stats = [], []
    for organism, own in cells.groupby("organism", sort=False):
        answers, figures = _answers(
            model, tokenizer, own.reset_index(drop=True), genes[str(organism)], template, num_genes,
            length or AnswerLength(), **options,
        )  # fmt: skip
        own = own.drop(columns=[WORD, NUM_CELLS], errors="ignore").reset_index(drop=True)
        tables.append(pd.concat([own, answers], axis=1))
        stats += figures
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
) -> tuple[pd.DataFrame, list[GenerationStats]]:
    """The answers for cells of one organism, in their order, and the figures of each run."""
    vocabulary = GeneVocabulary(tokenizer, genes)
    cells = cells.assign(n_genes=num_genes)
    if GROUP not in cells:
        table, stats = _single(model, tokenizer, cells, vocabulary, template, length, **options)
        return table, [stats]
    parts, figures = [], []
    several = CellVocabulary(tokenizer, vocabulary, int(cells[NUM_CELLS].max()))
    for n_cells, own in cells.groupby(NUM_CELLS, sort=False):
        of_size = several.of(int(str(n_cells)))
        table, stats = _several(model, tokenizer, own, of_size, template, length, **options)
        parts.append(table.set_axis(own.index, axis=0))
        figures.append(stats)
    return pd.concat(parts).sort_index(), figures


def _single(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    vocabulary: GeneVocabulary,
    template: str,
    length: AnswerLength,
    **options: Unpack[AnswerOptions],
) -> tuple[pd.DataFrame, GenerationStats]:
    """An answer for each cell."""
    kinds = ["organism", generated_column(cells)]
    distinct = _prompts(tokenizer, cells.drop_duplicates(kinds), template)
    limit = vocabulary.limit(length, model, options)
    _check_room(model, distinct, limit)
    numbers = cells.groupby(kinds, sort=False).ngroup()
    rows = cells[[*kinds, "number"]].itertuples(index=False, name=None)
    return answer_sentences(
        model,
        tokenizer,
        [distinct[number] for number in numbers],
        ["|".join(map(str, ("generated", *row))) for row in rows],
        vocabulary,
        limit,
        **options,
    )


def _several(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    vocabulary: CellVocabulary,
    template: str,
    length: AnswerLength,
    **options: Unpack[AnswerOptions],
) -> tuple[pd.DataFrame, GenerationStats]:
    """An answer for each group of cells; the groups are of one size, and in a row."""
    kinds = ["organism", generated_column(cells)]
    groups = cells.drop_duplicates([*kinds, GROUP])
    prompts = _prompts(tokenizer, groups, template, several=True)
    limit = vocabulary.limit(length, model, max(map(len, prompts)), options)
    _check_room(model, prompts, limit)
    rows = groups[[*kinds, GROUP]].itertuples(index=False, name=None)
    keys = ["|".join(map(str, ("generated group", *row))) for row in rows]
    return answer_cells(model, tokenizer, prompts, keys, vocabulary, limit, **options)


def _prompts(
    tokenizer: PreTrainedTokenizerBase, cells: pd.DataFrame, template: str, several: bool = False
) -> list[np.ndarray]:
    """Tokens of the prompt of each row; of several cells with the line that begins the first."""
    named = generated_column(cells)
    template = opened(template) if several else template
    texts = [
        fill(template, {**record, named.removeprefix(PREFIX): record[named]})
        for record in cells.to_dict("records")
    ]
    return [np.asarray(ids, dtype=np.int32) for ids in tokenizer(texts)["input_ids"]]


def _check_room(model: PreTrainedModel, prompts: list[np.ndarray], limit: AnswerLimit) -> None:
    longest, context = max(map(len, prompts), default=0), model.config.max_position_embeddings
    if longest + limit.n_tokens > context:
        raise UserError(
            f"the prompt has {longest} tokens, the answer up to {limit.n_tokens}, and the model "
            f"takes {context} together; shorten the prompt, or the answer with --max_answer_genes "
            "or --max_new_tokens"
        )


def generated_records(cells: pd.DataFrame) -> list[dict[str, object]]:
    """Cells of `generate_cells` as `c2sflow.model.embedding.embed_cells` takes them.

    A prompt may use their cell_sentence, num_genes, organism and cell_type, or tissue.
    """
    kind = generated_column(cells)
    names = {
        "c2s_sentence": "cell_sentence", "c2s_n_predicted_genes": "n_genes",
        kind: kind.removeprefix(PREFIX), "organism": "organism",
    }  # fmt: skip
    word = cells.columns.intersection([WORD])
    return cells[[*names, *word]].rename(columns=names).to_dict("records")


def generation_warnings(cells: pd.DataFrame) -> list[str]:
    """What a user should know of the cells of `generate_cells`, beside answers that were cut."""
    warnings = []
    missing = cells["c2s_finish_reason"] == MISSING
    if n_empty := int(((cells["c2s_n_predicted_genes"] == 0) & ~missing).sum()):
        warnings.append(f"{n_empty} generated cells hold no gene")
    if missing.any():
        groups = cells.loc[missing, ["organism", generated_column(cells), GROUP]].drop_duplicates()
        warnings.append(
            f"{missing.sum()} of {len(cells)} cells did not come back: {len(groups)} answers ended "
            "before their last cell; take a model that was trained to generate several cells, or "
            "fewer --cells_per_answer"
        )
    return warnings
