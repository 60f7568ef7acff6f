"""Lists that a user names: cell types, and the genes that may be generated."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_text

MOST = 1000  # each is scored for each cell
LITTLE = 0.1  # mean probability of a whole list below which its words are not the model's
NO_LIST = "none"  # --cell_types for free answers, where a model has labels of its own


def read_cell_types(
    value: str, file: str | Path | None = None, least: int = 2, option: str = "cell_types"
) -> list[str]:
    """Labels in order, without repeats.

    "B" and "B." are one label, as first given: an answer may end in a full stop.

    Parameters
    ----------
    value
        Labels with commas between, or a label a line; a label that holds a comma is in double
        quotes where commas separate.
    file
        Text file with a label a line; taken instead of `value`.
    least
        Labels that there must be: to choose among one is no choice.
    option
        Parameter that names them.

    Raises
    ------
    UserError
        If the file cannot be read, or there are too few labels or too many.
    """
    where = f"--{option} {Path(file).name if file else repr(value)}"
    text = read_text(Path(file), where) if file else value
    if file or "\n" in text:
        labels = text.splitlines()
    else:
        labels = next(csv.reader([text], skipinitialspace=True), [])
    distinct = distinct_labels(labels)
    if len(distinct) < least:
        raise UserError(
            f"{where}: {len(distinct)} different labels; give at least "
            f"{'two' if least > 1 else 'one'}, separated by commas, or a file with one per line"
        )
    if len(distinct) > MOST:
        raise UserError(f"{where}: {len(distinct)} labels; the most is {MOST}")
    return distinct


def distinct_labels(labels: Iterable[str]) -> list[str]:
    """Labels in order, those that are one answer once, as first named."""
    # Runs of white space are one space: no tokenizer's answer distinguishes more.
    named: dict[str, str] = {}
    for label in labels:
        if stem := label_stem(label):
            named.setdefault(stem, " ".join(label.split()))
    return list(named.values())


def names_types(cell_types: object) -> bool:
    """Whether --cell_types names cell types: it may be missing, or `NO_LIST`."""
    return cell_types not in (None, "", NO_LIST)


def label_stem(label: str) -> str:
    """What labels that are one answer have in common: all but white space and a last full stop."""
    return " ".join(label.split()).rstrip(" .")


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


def allowed_words(words: Iterable[str], vocabulary: frozenset[str]) -> list[str]:
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
