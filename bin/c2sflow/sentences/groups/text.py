"""The sentences of several cells as one text, in the form that cell2sentence 1.2.0 gives them.

For each cell a line "Cell N:" and one with its sentence and a full stop
(``C2SMultiCellPromptFormatter``): what the wordings of several cells were trained with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

FIRST = "Cell 1:\n"


def join_sentences(sentences: Sequence[str]) -> str:
    """The text of several cells, one behind the other."""
    return "".join(f"Cell {n}:\n{text}.\n" for n, text in enumerate(sentences, 1))


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
