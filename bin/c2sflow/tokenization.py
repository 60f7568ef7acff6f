"""Cells to token ids: prompts filled and tokenised, and fitted to the model's context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from c2sflow.errors import UserError
from c2sflow.prompts import fill

CHUNK = 1024  # prompts handed to the tokenizer's threads at a time


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
    """

    input_ids: list[np.ndarray]
    n_genes: np.ndarray
    truncated: np.ndarray

    @property
    def n_tokens(self) -> np.ndarray:
        """int64 (n_cells,)."""
        return np.array([ids.size for ids in self.input_ids], dtype=np.int64)


def _encode(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[np.ndarray]:
    return [np.asarray(ids, dtype=np.int32) for ids in tokenizer(list(prompts))["input_ids"]]


def _first_genes(record: Mapping[str, object], n_genes: int) -> dict[str, object]:
    words = str(record["cell_sentence"]).split(" ")[:n_genes]
    return {**record, "cell_sentence": " ".join(words), "n_genes": n_genes}


def _fit_to_context(
    tokenizer: PreTrainedTokenizerBase, template: str, record: Mapping[str, object], context: int
) -> tuple[np.ndarray, int]:
    """Longest prompt of whole genes, from the first on, that has at most `context` tokens."""
    fits, too_many = 0, int(record["n_genes"])
    best = _encode(tokenizer, [fill(template, _first_genes(record, 0))])[0]
    if best.size > context:
        raise UserError(
            f"the prompt without a gene has {best.size} tokens, and the model takes {context}; "
            "shorten the prompt template"
        )
    while too_many - fits > 1:
        n_genes = (fits + too_many) // 2
        ids = _encode(tokenizer, [fill(template, _first_genes(record, n_genes))])[0]
        if ids.size <= context:
            fits, best = n_genes, ids
        else:
            too_many = n_genes
    return best, fits


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
    """
    input_ids: list[np.ndarray] = []
    n_genes = np.array([record["n_genes"] for record in records], dtype=np.int32)
    truncated = np.zeros(len(records), dtype=bool)
    for start in range(0, len(records), CHUNK):
        chunk = records[start : start + CHUNK]
        encoded = _encode(tokenizer, [fill(template, record) for record in chunk])
        for row, (record, ids) in enumerate(zip(chunk, encoded, strict=True), start):
            if n_genes[row] == 0:
                ids = ids[:0]
            elif ids.size > context:
                ids, n_genes[row] = _fit_to_context(tokenizer, template, record, context)
                truncated[row] = True
            input_ids.append(ids)
    return TokenizedPrompts(input_ids, n_genes, truncated)
