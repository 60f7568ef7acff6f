"""The sentences of several cells as one text, in the form that cell2sentence 1.2.0 gives them.

For each cell a line "Cell N:" and one with its sentence and a full stop
(``C2SMultiCellPromptFormatter``): what the wordings of several cells were trained with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell_line(number: int) -> str:
    """The line before the sentence of a cell, counted from 1."""
    return f"Cell {number}:\n"


FIRST = cell_line(1)


def join_sentences(sentences: Sequence[str]) -> str:
    """The text of several cells, one behind the other."""
    return "".join(f"{cell_line(n)}{text}.\n" for n, text in enumerate(sentences, 1))


def sentences_of(text: str) -> list[str]:
    """The sentences in a text: of several cells each, else the text itself."""
    if not text.startswith(FIRST):
        return [text]
    return [line.removesuffix(".") for line in text.split("\n")[1::2]]


def hold_groups(texts: Iterable[str]) -> bool:
    """Whether these are the texts of groups: of a cell none begins so, for it has no line ends."""
    return any(text.startswith(FIRST) for text in texts)


def with_first_genes(text: str, n_genes: int) -> str:
    """A text with the first `n_genes` genes of each of its sentences."""
    cut = [" ".join(sentence.split(" ")[:n_genes]) for sentence in sentences_of(text)]
    return join_sentences(cut) if text.startswith(FIRST) else cut[0]


PARTED = re.compile(r"[\s.]*\n\s*Cell \d+:\s*")


def split_answer(text: str) -> list[tuple[str, int]]:
    """The sentences in an answer of several cells, which a model wrote behind the first "Cell 1:".

    Returns
    -------
    Of each cell its sentence, without the full stop, and the characters of the answer up to where
    the next cell begins; of the last all of them.
    """
    parts, begin = [], 0
    for match in PARTED.finditer(text):
        parts.append((text[begin : match.start()], match.end()))
        begin = match.end()
    return [*parts, (text[begin:].rstrip("\n ."), len(text))]
