"""What separates the fields of a text table: found from its first lines."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence

# A space is tried by tables of numbers only, as R's write.table writes them.
SEPARATORS = (",", ";", "\t")
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", " ": "space"}


def find_separator(lines: Sequence[str], candidates: Sequence[str] = SEPARATORS) -> str | None:
    """The separator that gives all lines equally many fields; None if none separates anything.

    Parameters
    ----------
    lines
        The first lines: the header, and some rows. R writes a header one field shorter than rows.
    candidates
        Separators to try. Of several that fit, the one that gives most fields is taken; if none
        fits, the one that gives the header most fields, so that a line that differs can be named.
    """
    fitting, any_of = {}, {}
    for separator in candidates:
        try:
            counts = [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        except csv.Error:
            continue
        if not counts or max(counts) < 2:
            continue
        any_of[separator] = counts[0]
        if len(set(counts[1:])) <= 1 and counts[-1] - counts[0] in (0, 1):
            fitting[separator] = counts[-1]
    found = fitting or {name: n for name, n in any_of.items() if n > 1}
    return max(found, key=found.__getitem__) if found else None


def header_separator(header: str, needed: Collection[str], default: str) -> str:
    """The separator by which a header has these columns; `default`, tried first, if none has them.

    Excel saves CSV with semicolons where the comma is the decimal mark.
    """
    for separator in (default, *(mark for mark in SEPARATORS if mark != default)):
        names = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
        if set(needed) <= {name.strip() for name in names}:
            return separator
    return default
