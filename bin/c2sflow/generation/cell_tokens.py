"""Tokens of what parts the cells of an answer, by the wording of several cells.

An answer to cell2sentence's tissue-conditional generation is, for each cell, a line "Cell N:" and
one with its sentence and a full stop, and a full stop behind all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.generation.cell_trie import CellTokens
from c2sflow.generation.logits import ANCHOR, GENE_END, behind
from c2sflow.sentences.groups.text import cell_line

LINE_END = f"{ANCHOR}\n"
LOGGER = logging.getLogger(__name__)


def cell_tokens(
    tokenizer: PreTrainedTokenizerBase, genes: Mapping[str, Sequence[int]], n_cells: int
) -> CellTokens:
    """The tokens of an answer of so many cells, beside those of genes behind others.

    Parameters
    ----------
    genes
        Tokens of each gene behind another, see `c2sflow.generation.logits.gene_tokens`.

    Raises
    ------
    UserError
        If the tokenizer cannot write what parts the cells.
    """
    between = [f".\n{cell_line(number)}" for number in range(2, n_cells + 1)]
    parts = behind(tokenizer, GENE_END, [*between, ".\n."])
    if lost := [text for text in between if text not in parts]:
        raise UserError(f"this model's tokenizer cannot represent {lost[0]!r}, which parts cells")
    first = behind(tokenizer, LINE_END, list(genes))
    if not first:
        raise UserError("this model's tokenizer cannot represent a gene at the beginning of a line")
    if len(first) < len(genes):
        n_lost = len(genes) - len(first)
        LOGGER.warning("%d genes cannot be the first of a cell, by this tokenizer", n_lost)
    return CellTokens(
        [first.get(gene, []) for gene in genes],
        [parts[text] for text in between],
        parts.get(".\n.", []),
    )
