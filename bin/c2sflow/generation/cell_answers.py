"""Answers of the model that are several cells each, to cell sentences with figures."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Unpack

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.data.own_columns import LIKELIHOODS
from c2sflow.generation.answers import AnswerOptions, GeneVocabulary, decoding_of, parse_answer
from c2sflow.generation.cell_tokens import cell_tokens
from c2sflow.generation.cell_trie import CellTokens, CellTrie
from c2sflow.generation.decoding import Answer, GenerationStats, end_tokens, generate_tokens
from c2sflow.generation.plan import MISSING
from c2sflow.model.answer_limits import AnswerLength, AnswerLimit, SeveralCells
from c2sflow.sentences.groups.text import split_answer


class CellVocabulary:
    """What answers of several cells may hold.

    Parameters
    ----------
    genes
        Those of each cell.
    n_cells
        Cells of an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, genes: GeneVocabulary, n_cells: int):
        self.genes, self.n_cells = genes, n_cells
        self.tokens: CellTokens = cell_tokens(tokenizer, genes.tokens, n_cells)

    def of(self, n_cells: int) -> CellVocabulary:
        """What answers of fewer cells may hold; nothing is tokenised again."""
        fewer = copy(self)
        fewer.n_cells = n_cells
        fewer.tokens = replace(self.tokens, between=self.tokens.between[: n_cells - 1])
        return fewer

    def limit(
        self, length: AnswerLength, model: PreTrainedModel, n_prompt: int, options: AnswerOptions
    ) -> AnswerLimit:
        """The most that an answer to a prompt of so many tokens may have; genes are of a cell."""
        n_between = sum(map(len, [*self.tokens.between, self.tokens.end]))
        room = model.config.max_position_embeddings - n_prompt
        return self.genes.limit(length, model, options, SeveralCells(self.n_cells, n_between, room))

    def trie(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, no_repeats: bool
    ) -> CellTrie:
        """What the answers of a model may hold."""
        eos = end_tokens(model, tokenizer.eos_token_id)
        paths = list(self.genes.tokens.values())
        return CellTrie(paths, self.tokens, eos, model.device, no_repeats)


def answer_cells(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Sequence[np.ndarray],
    keys: Sequence[str],
    cells: CellVocabulary,
    limit: AnswerLimit,
    **options: Unpack[AnswerOptions],
) -> tuple[pd.DataFrame, GenerationStats]:
    """Generate the cells that answer each prompt.

    Parameters
    ----------
    model, tokenizer, input_ids, keys, options
        See `c2sflow.generation.answers.answer_sentences`; a prompt ends with the line that begins
        the first cell.
    cells
        What may be in an answer.
    limit
        The most genes of a cell, and tokens of an answer. Where the model continues beyond that
        many genes, the cell is cut and the next one begins.

    Returns
    -------
    A row for each cell of each prompt with the columns of `answer_sentences`; and the figures of
    the run. c2s_finish_reason is "length" of a cell that is cut, `MISSING` of one that the answer
    does not have: then the sentence is empty, and the likelihood missing. A likelihood counts the
    tokens of the cell and of what parts it from the next.
    """
    how = {name: options[name] for name in ("temperature", "top_p", "seed") if name in options}
    likelihood = options.get("likelihood", "valid")
    trie = None
    if options.get("valid_genes_only", True):
        trie = cells.trie(model, tokenizer, options.get("no_repeats", True))
    decoding = decoding_of(model, tokenizer, trie, limit, likelihood=likelihood, **how)
    answers, stats = generate_tokens(
        model,
        input_ids,
        decoding,
        keys=keys,
        max_batch_tokens=options.get("max_batch_tokens", "auto"),
        max_rows=options.get("max_rows"),
        progress=options.get("progress", True),
    )
    stats.limit, stats.room = limit, model.config.max_position_embeddings - limit.n_tokens
    column = LIKELIHOODS["valid" if decoding.valid_only else "full"]
    rows = [
        row for answer in answers for row in _rows(tokenizer, answer, cells, limit.n_genes, column)
    ]
    return pd.DataFrame(rows), stats


def _rows(
    tokenizer: PreTrainedTokenizerBase,
    answer: Answer,
    cells: CellVocabulary,
    max_genes: int,
    column: str,
) -> Iterator[dict[str, object]]:
    """The columns of each cell of an answer, those that are missing last."""
    text = str(tokenizer.decode(answer.token_ids, skip_special_tokens=True))
    parts = split_answer(text)
    n_found, parts = len(parts), parts[: cells.n_cells]
    cuts = answer.cut_cells or [False] * cells.n_cells
    begin = 0
    for number, (sentence, end) in enumerate(parts):
        last = number == n_found - 1
        unfinished = last and answer.finish_reason == "length"
        parsed = parse_answer(sentence, cells.genes.words, unfinished, max_genes)
        if last and not (parsed.genes or parsed.n_invalid):
            break  # it was begun, and that is all
        stop = len(answer.log_likelihoods) if last else _tokens_of(tokenizer, answer, end)
        cut = unfinished or cuts[number] or parsed.full
        yield {
            "c2s_sentence": " ".join(parsed.genes),
            "c2s_n_predicted_genes": len(parsed.genes),
            "c2s_invalid_genes": parsed.n_invalid,
            "c2s_duplicate_genes": parsed.n_duplicate,
            "c2s_finish_reason": "length" if cut else "eos",
            column: float(sum(answer.log_likelihoods[begin:stop])),
        }
        begin = stop
    else:
        number = len(parts)
    for _ in range(number, cells.n_cells):
        yield {
            "c2s_sentence": "",
            "c2s_n_predicted_genes": 0,
            "c2s_invalid_genes": 0,
            "c2s_duplicate_genes": 0,
            "c2s_finish_reason": MISSING,
            column: np.nan,
        }


def _tokens_of(tokenizer: PreTrainedTokenizerBase, answer: Answer, n_characters: int) -> int:
    """The fewest tokens of an answer whose text has so many characters."""

    def holds(n_tokens: int) -> bool:
        ids = answer.token_ids[:n_tokens]
        return len(str(tokenizer.decode(ids, skip_special_tokens=True))) >= n_characters

    return bisect_left(range(len(answer.token_ids)), True, key=holds)
