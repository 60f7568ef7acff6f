"""Answers to genes: which words of a predicted sentence are genes of the data set."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass
class ParsedAnswer:
    """A predicted sentence.

    Attributes
    ----------
    genes
        Valid genes, each once, in the order said.
    n_invalid
        Words that are no gene of the data set.
    n_duplicate
        Genes said again.
    left_out
        Last word, where it is left out as half a gene; else "".
    """

    genes: list[str]
    n_invalid: int
    n_duplicate: int
    left_out: str = ""


def parse_answer(text: str, genes: Collection[str], cut: bool = False) -> ParsedAnswer:
    """Split an answer into words and check each against the data set's genes.

    Parameters
    ----------
    text
        The decoded answer.
    genes
        A set of the words of `c2sflow.sentences.gene_words`.
    cut
        The answer was cut by max_new_tokens: its last word may be half a gene, and is left out,
        neither valid nor invalid, unless it is one.
    """
    words = text.replace(",", " ").split()
    left_out = ""
    if words:
        last = words[-1]
        words[-1] = last.rstrip(".")  # the prompt's own sentences end with a full stop
        if cut and words[-1] not in genes:
            words.pop()
            left_out = last
    valid = [word for word in words if word in genes]
    distinct = list(dict.fromkeys(valid))
    return ParsedAnswer(distinct, len(words) - len(valid), len(valid) - len(distinct), left_out)
