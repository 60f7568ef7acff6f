"""Columns of obs that are ours have one prefix, so that none takes the name of a user's own.

Tables of results name them without it: there no other columns are.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

PREFIX = "c2s_"
# What the prompt of a generated cell named, where it named something.
GENERATED = ("c2s_cell_type", "c2s_tissue")
# An answer's log-likelihood, by what each of its tokens is one among: the tokens that lead to a
# gene that may follow, or the whole vocabulary. Two names, because the values do not compare.
LIKELIHOODS = {"valid": "c2s_log_likelihood_valid", "full": "c2s_log_likelihood"}


def own_name(name: str) -> str:
    """Name of a column of ours in obs of a result: condition is c2s_condition."""
    return name if name.startswith(PREFIX) else PREFIX + name


def own_names(names: Iterable[str]) -> dict[str, str]:
    """`own_name` of each name, by that name."""
    return {name: own_name(name) for name in names}


def generated_column(names: Container[str]) -> str:
    """That of `GENERATED` which a table of generated cells has, by the names of its columns."""
    return next(name for name in GENERATED if name in names)
