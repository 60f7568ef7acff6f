"""How long an answer that is a cell sentence may be: in genes, and in tokens. No torch here."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c2sflow.model.trained import ANSWER_GENES, read_trained

COMMON = 95  # percentile of the genes' lengths: no answer of many genes has longer ones on average


@dataclass(frozen=True)
class AnswerLimit:
    """The most that an answer may have.

    Attributes
    ----------
    n_genes
        Genes.
    n_tokens
        Tokens, the end included: what memory and context have room for.
    """

    n_genes: int
    n_tokens: int


@dataclass(frozen=True)
class SeveralCells:
    """What an answer of several cells takes beside their genes.

    Attributes
    ----------
    n_cells
        Cells.
    n_between
        Tokens of all that parts them.
    room
        Tokens that the prompt leaves: it holds no cell, so that it needs no half of the context.
    """

    n_cells: int
    n_between: int
    room: int


@dataclass(frozen=True)
class AnswerLength:
    """What a run asks for.

    Attributes
    ----------
    n_genes
        Genes of an answer at most.
    n_tokens
        Tokens of an answer at most; None for what the genes need.
    source
        Where the number of genes comes from: "option", "model" (as many as it was trained with)
        or "default".
    """

    n_genes: int = ANSWER_GENES
    n_tokens: int | None = None
    source: str = "default"

    @classmethod
    def of(
        cls, model: str | Path, max_answer_genes: int | None, max_new_tokens: int | None
    ) -> AnswerLength:
        """By the options, and the record in the model's folder.

        Raises
        ------
        UserError
            If the record is broken.
        """
        own = read_trained(model).max_answer_genes
        source = "option" if max_answer_genes else "model" if own else "default"
        return cls(max_answer_genes or own or ANSWER_GENES, max_new_tokens, source)

    def parameters(self) -> dict[str, int]:
        """For the provenance of a result: the genes, and the tokens if they were asked for."""
        tokens = {} if self.n_tokens is None else {"max_new_tokens": self.n_tokens}
        return {"max_answer_genes": self.n_genes, **tokens}

    def limit(
        self,
        gene_lengths: Collection[int],
        context: int,
        repeats: bool = False,
        cells: SeveralCells | None = None,
    ) -> AnswerLimit:
        """The limit for genes of these lengths.

        By default so many tokens that no answer is cut before its last gene; but half of the
        context belongs to the prompt, as in training.

        Parameters
        ----------
        gene_lengths
            Tokens of each gene that an answer may hold.
        context
            Tokens of the model's context.
        repeats
            Whether a gene may come twice.
        cells
            Of an answer of several cells: then the genes are those of each.
        """
        if self.n_tokens is not None:
            return AnswerLimit(self.n_genes, self.n_tokens)
        lengths = np.fromiter(gene_lengths, dtype=np.int64)
        longest = int(lengths.max(initial=1))
        common = math.ceil(np.percentile(lengths, COMMON)) if lengths.size else 1
        n_genes = self.n_genes if repeats else min(self.n_genes, max(1, lengths.size))
        needed = min(n_genes * longest, n_genes * common + longest) + 1
        if cells:
            needed = cells.n_cells * needed + cells.n_between
            return AnswerLimit(self.n_genes, max(1, min(needed, cells.room)))
        return AnswerLimit(self.n_genes, min(needed, context // 2))
