"""Cells to token ids: prompts filled and tokenised, and fitted to the model's context."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.sentences.groups.text import sentences_of
from c2sflow.sentences.prompts import fill, first_genes

CHUNK = 128  # prompts handed to the tokenizer's threads at a time
PARTS = 4  # of the first chunk
AHEAD = 12  # chunks tokenised before they are needed


@dataclass
class TokenizedPrompts:
    """Prompts of some cells.

    Attributes
    ----------
    input_ids
        int32 (n_tokens,) of each cell; empty for a cell without genes.
    n_genes
        int32 (n_cells,): genes of the sentence as used.
    truncated
        bool (n_cells,): genes were left out because the context is full.
    sentences
        int32 (n_cells, 2): the first token of the cell sentence, and the first after it.
    """

    input_ids: list[np.ndarray]
    n_genes: np.ndarray
    truncated: np.ndarray
    sentences: np.ndarray

    @property
    def n_tokens(self) -> np.ndarray:
        """int64 (n_cells,)."""
        return np.array([ids.size for ids in self.input_ids], dtype=np.int64)


@dataclass(frozen=True)
class _Prompt:
    """A cell's prompt: its text, where the sentence begins and ends in it, and its tokens."""

    text: str
    begin: int
    end: int
    encoding: Encoding

    @property
    def ids(self) -> np.ndarray:
        return np.asarray(self.encoding.ids, dtype=np.int32)

    def sentence(self) -> tuple[int, int]:
        """First token of the sentence, and the first after it."""
        if self.begin == self.end:
            return 0, 0
        first = self._token_at(range(self.begin, self.end))
        return first, self._token_at(range(self.end - 1, self.begin - 1, -1)) + 1

    def _token_at(self, characters: range) -> int:
        tokens = map(self.encoding.char_to_token, characters)  # None where one was normalised away
        return next((token for token in tokens if token is not None), 0)


def _prompts(
    tokenizer: PreTrainedTokenizerBase, template: str, records: Sequence[Mapping[str, object]]
) -> list[_Prompt]:
    before = template.partition("{cell_sentence}")[0]
    texts = [fill(template, record) for record in records]
    prompts = []
    for record, text, encoding in zip(records, texts, tokenizer(texts).encodings, strict=True):
        begin = len(fill(before, record))
        prompts.append(_Prompt(text, begin, begin + len(str(record["cell_sentence"])), encoding))
    return prompts


def _fit_to_context(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    record: Mapping[str, object],
    context: int,
    whole: _Prompt,
) -> tuple[_Prompt, int]:
    """Longest prompt of whole genes, from the first on, that has at most `context` tokens."""

    def with_genes(n_genes: int) -> _Prompt:
        return _prompts(tokenizer, template, [first_genes(record, n_genes)])[0]

    low, high, step = -1, int(str(record["n_genes"])), 1  # `low` genes fit, `high` do not
    n_genes, fitting = _fitting_genes(record, context, whole), None
    while high - low > 1:
        n_genes = n_genes if low < n_genes < high else (low + high) // 2
        prompt = with_genes(n_genes)
        if len(prompt.encoding) > context:
            high, n_genes = n_genes, n_genes - step
        else:
            low, n_genes, fitting = n_genes, n_genes + step, prompt
        step *= 2
    if fitting is None:
        raise UserError(
            f"the prompt without a gene has {len(prompt.encoding)} tokens, and the model takes "
            f"{context}; shorten the prompt template, or take fewer --cells_per_prompt"
        )
    return fitting, low


def _fitting_genes(record: Mapping[str, object], context: int, whole: _Prompt) -> int:
    """About the genes that fit: of one cell one more or less, by the numbers in its prompt."""
    begin, end = whole.sentence()
    excess = len(whole.encoding) - context
    if len(sentences_of(str(record["cell_sentence"]))) > 1:  # the cells share what is left
        return int(int(str(record["n_genes"])) * (1 - excess / (end - begin)))
    last = max(0, end - excess - 1)
    return whole.text[whole.begin : whole.encoding.offsets[last][1]].count(" ")


def tokenize_prompts(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    records: Sequence[Mapping[str, object]],
    context: int,
) -> TokenizedPrompts:
    """Fill `template` for each cell and tokenise it; too long a prompt is cut between genes.

    Parameters
    ----------
    records
        cell_sentence, n_genes, organism and whatever else the template names.
    context
        Most tokens a prompt may have.

    Raises
    ------
    UserError
        If a prompt is too long without any gene.
    """
    input_ids: list[np.ndarray] = []
    n_genes = np.array([record["n_genes"] for record in records], dtype=np.int32)
    truncated = np.zeros(len(records), dtype=bool)
    sentences = np.zeros((len(records), 2), dtype=np.int32)
    for start in range(0, len(records), CHUNK):
        prompts = _prompts(tokenizer, template, records[start : start + CHUNK])
        for row, prompt in enumerate(prompts, start):
            if n_genes[row] == 0:
                input_ids.append(np.empty(0, dtype=np.int32))
                continue
            if len(prompt.encoding) > context:
                record = records[row]
                prompt, n_genes[row] = _fit_to_context(tokenizer, template, record, context, prompt)
                truncated[row] = True
            input_ids.append(prompt.ids)
            sentences[row] = prompt.sentence()
    return TokenizedPrompts(input_ids, n_genes, truncated, sentences)


def tokenize_ahead(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    records: Sequence[Mapping[str, object]],
    context: int,
    mixed: bool = False,
) -> Iterator[tuple[np.ndarray, TokenizedPrompts]]:
    """`tokenize_prompts` in chunks, by a thread that works while the model does.

    Parameters
    ----------
    mixed
        Give each chunk sentences of every length (for packing); else the longest come first
        (for padding). The longest of all is in the first chunk in either case.

    Yields
    ------
    Positions in `records`, and their prompts.
    """
    order = np.argsort([-len(str(record["cell_sentence"])) for record in records], kind="stable")
    n_chunks = -(-len(records) // CHUNK)
    if mixed:
        chunks = [order[n::n_chunks] for n in range(n_chunks)]
        # The first in parts, so that a GPU begins with the first of them.
        chunks[:1] = [rows[n::PARTS] for rows in chunks[:1] for n in range(min(PARTS, len(rows)))]
    else:
        chunks = [order[n * CHUNK : (n + 1) * CHUNK] for n in range(n_chunks)]

    def tokenize(rows: np.ndarray) -> TokenizedPrompts:
        return tokenize_prompts(tokenizer, template, [records[row] for row in rows], context)

    with ThreadPoolExecutor(1) as thread:
        waiting: deque = deque()
        for rows in chunks:
            waiting.append((rows, thread.submit(tokenize, rows)))
            if len(waiting) > AHEAD:
                rows, tokenized = waiting.popleft()
                yield rows, tokenized.result()
        for rows, tokenized in waiting:
            yield rows, tokenized.result()
