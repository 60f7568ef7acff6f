"""The genes that predictions may say: those of the data, or those of them that a file names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from c2sflow.errors import UserError
from c2sflow.text_files import read_text


def read_vocabulary(path: str | Path) -> frozenset[str]:
    """Gene symbols of a text file, a symbol a line, in upper case; what follows a tab is ignored.

    Raises
    ------
    UserError
        If the file cannot be read or names no gene.
    """
    path = Path(path)
    where = f"--gene_vocabulary {path.name}"
    lines = read_text(path, where).splitlines()
    genes = frozenset(line.split("\t")[0].strip().upper() for line in lines) - {""}
    if not genes:
        raise UserError(f"{where}: names no gene; give one symbol a line")
    return genes


def words_to_say(words: Iterable[str], vocabulary: frozenset[str]) -> list[str]:
    """The genes of the data, in their order, that the vocabulary holds.

    Raises
    ------
    UserError
        If there is none.
    """
    found = [word for word in words if word in vocabulary]
    if not found:
        raise UserError(
            f"--gene_vocabulary: none of its {len(vocabulary)} genes is in the data; are they "
            "symbols, of this organism?"
        )
    return found
