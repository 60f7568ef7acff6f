"""Columns of obs that are ours have one prefix, so that none takes the name of a user's own.

Tables of results name them without it: there no other columns are.
"""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = "c2s_"


def own_name(name: str) -> str:
    """Name of a column of ours in obs of a result: condition is c2s_condition."""
    return name if name.startswith(PREFIX) else PREFIX + name


def own_names(names: Iterable[str]) -> dict[str, str]:
    """`own_name` of each name, by that name."""
    return {name: own_name(name) for name in names}
