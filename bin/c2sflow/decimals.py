"""Decimal marks of a text table: a point or a comma, and no thousands separators."""

from __future__ import annotations

import re
from collections.abc import Iterable

POINT = re.compile(r"^[-+]?\d*\.\d+(?:[eE][-+]?\d+)?$")
COMMA = re.compile(r"^[-+]?\d*,\d+(?:[eE][-+]?\d+)?$")
THOUSANDS = re.compile(r"^[-+]?\d{1,3}(?:([.,' ])\d{3})(?:\1\d{3})+(?:[.,]\d+)?$")
MIXED = re.compile(r"^[-+]?\d{1,3}(?:\.\d{3})+,\d+$|^[-+]?\d{1,3}(?:,\d{3})+\.\d+$")
# 1,234 may be a thousand or a fraction; 0,234 and 1,23 may not.
UNCLEAR = re.compile(r"^[-+]?[1-9]\d{0,2}[.,]\d{3}$")


def decimal_mark(fields: Iterable[str]) -> str:
    """ "." or ",", whichever these fields have; "." where none has any.

    Parameters
    ----------
    fields
        Fields that hold a point or a comma, of a table whose separator is no comma.

    Raises
    ------
    ValueError
        If they hold thousands separators, both marks, or what may be either.
    """
    numbers = {"," if COMMA.match(text) else ".": text for text in fields if _is_number(text)}
    grouped = [text for text in fields if THOUSANDS.match(text) or MIXED.match(text)]
    if grouped:
        raise ValueError(
            f"{grouped[0]!r} has a separator of thousands; write the numbers without one"
        )
    if len(numbers) > 1:
        raise ValueError(
            f"{numbers['.']!r} and {numbers[',']!r}: a point and a comma as decimal marks; "
            "write all numbers with one of them"
        )
    numeric = [text for text in fields if _is_number(text)]
    if numeric and all(UNCLEAR.match(text) for text in numeric):
        raise ValueError(
            f"{numeric[0]!r} may be a thousand or a fraction; write the numbers without "
            "separators of thousands, and fractions with a point"
        )
    return next(iter(numbers), ".")


def _is_number(text: str) -> bool:
    return bool(POINT.match(text) or COMMA.match(text))


def describe_fault(text: str, separator: str) -> str:
    """Why a field is no number that can be read, and what to do, in words."""
    clean = text.strip()
    if clean.lower() in ("", "na", "nan", "n/a", "null", "none", "-", "#n/a"):
        what = repr(text) if clean else "empty"
        return f"is {what}; write 0 where a gene was not seen, or drop the gene"
    if THOUSANDS.match(clean) or MIXED.match(clean) or (separator == "," and COMMA.match(clean)):
        return f"holds {text!r}: write numbers without separators of thousands"
    return f"holds text ({text!r})"
