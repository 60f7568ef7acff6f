"""Cells by a query on obs that can run no code, and names of arrays of obsm."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import numpy as np
import pandas as pd

from c2sflow.errors import UserError
from c2sflow.query_kinds import check_kinds, column_operand
from c2sflow.query_text import MAX_OPERATORS, parse_query


def select_cells(obs: pd.DataFrame, query: str | None, where: str) -> np.ndarray:
    """Which cells a query selects: those of `pandas.DataFrame.query`, without running any code.

    Parameters
    ----------
    obs
        Annotation of the cells.
    query
        Comparisons of columns as in `pandas.DataFrame.query`, such as
        ``perturbation == "control" and `cell type` in ["B", "T"]``; None selects all cells.
    where
        What messages call the query, such as "--control".

    Returns
    -------
    bool (n_obs,)

    Raises
    ------
    UserError
        If the query is malformed, names no column of obs, or compares what is not alike.
    """
    if query is None:
        return np.ones(len(obs), dtype=bool)
    where = f"{where} {query!r}"
    parsed = parse_query(query, where)
    _check_names(parsed.names, obs.columns, where)
    try:
        check_kinds(parsed, {k: column_operand(obs[v], v) for k, v in parsed.names.items()})
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    # Each column gets a plain name, and only those the query uses are within its reach.
    frame = pd.DataFrame({key: obs[name].array for key, name in parsed.names.items()})
    try:
        with np.errstate(all="ignore"):
            chosen = frame.eval(parsed.text, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # whatever arithmetic with the user's columns can raise
        reason = (str(error).splitlines() or ["cannot be evaluated"])[0]
        raise UserError(f"{where}: {reason}") from None
    return chosen.fillna(False).to_numpy(dtype=bool)


def query_columns(query: str, where: str) -> list[str]:
    """Columns of obs that a query names.

    Raises
    ------
    UserError
        If the query is malformed, or longer than a user's may be.
    """
    return list(parse_query(query, f"{where} {query!r}", MAX_OPERATORS).names.values())


def _check_names(names: Mapping[str, str], columns: pd.Index, where: str) -> None:
    for name in names.values():
        if name not in columns:
            close = get_close_matches(name, map(str, columns), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {_listed(columns)}"
            raise UserError(f"{where}: obs has no column {name!r}; {hint}")
        if (columns == name).sum() > 1:
            raise UserError(f"{where}: obs has several columns {name!r}; rename all but one")


def _listed(names: object, most: int = 12) -> str:
    names = [str(name) for name in names]
    return (", ".join(names[:most]) + (", …" if len(names) > most else "")) or "no column"


def obsm_keys(text: str | None) -> list[str]:
    """The keys that --evaluation_key names, with commas between."""
    return [key.strip() for key in (text or "").split(",") if key.strip()]
