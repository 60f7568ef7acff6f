"""What a model's prompts call the organism of a cell: "Homo sapiens", where it was trained so.

Everywhere else an organism keeps the name that VALIDATE found for it, such as "human".
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

# Column beside the organism's name, which goes before that in a prompt.
WORD = "c2s_organism_word"


def with_words(cells: pd.DataFrame, words: Mapping[str, str]) -> pd.DataFrame:
    """The cells with the words for their organisms in the column `WORD`.

    Parameters
    ----------
    cells
        With the column organism.
    words
        By organism; one that it lacks keeps its name. Empty gives the cells as they are.
    """
    if not words:
        return cells
    names = cells["organism"].astype(str)
    return cells.assign(**{WORD: [words.get(name, name) for name in names]})


def words_line(words: Mapping[str, str]) -> str:
    """Such as "human cells “Homo sapiens”"; "" without words."""
    return ", ".join(f"{name} cells “{word}”" for name, word in words.items())
