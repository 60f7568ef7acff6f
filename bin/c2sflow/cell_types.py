"""The labels that an annotation may choose from, or that cells are generated of."""

from __future__ import annotations

import csv
from pathlib import Path

from c2sflow.errors import UserError
from c2sflow.text_files import read_text

MOST = 1000  # each is scored for each cell


def read_cell_types(value: str, file: str | Path | None = None, least: int = 2) -> list[str]:
    """Labels in order, without repeats.

    "B" and "B." are one label, as first given: an answer may end in a full stop.

    Parameters
    ----------
    value
        Labels with commas between, or a label a line; a label that holds a comma stands in double
        quotes where commas separate.
    file
        Text file with a label a line; taken instead of `value`.
    least
        Labels that there must be: to choose among one is no choice.

    Raises
    ------
    UserError
        If the file cannot be read, or there are too few labels or too many.
    """
    where = f"--cell_types {Path(file).name if file else repr(value)}"
    text = read_text(Path(file), where) if file else value
    if file or "\n" in text:
        labels = text.splitlines()
    else:
        labels = next(csv.reader([text], skipinitialspace=True), [])
    # White space is one space: no tokenizer's answer would tell more apart.
    named: dict[str, str] = {}
    for label in labels:
        if stem := label_stem(label):
            named.setdefault(stem, " ".join(label.split()))
    distinct = list(named.values())
    if len(distinct) < least:
        raise UserError(
            f"{where}: names {len(distinct)} of the labels to choose from; give at least "
            f"{'two' if least > 1 else 'one'}, with commas between, or a file with one a line"
        )
    if len(distinct) > MOST:
        raise UserError(f"{where}: {len(distinct)} labels; at most {MOST} can be chosen from")
    return distinct


def label_stem(label: str) -> str:
    """What labels that are one answer have in common: all but white space and a last full stop."""
    return " ".join(label.split()).rstrip(" .")
