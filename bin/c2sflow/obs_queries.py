"""Cells by a query on obs that can run no code, and names of arrays of obsm."""

from __future__ import annotations

import ast
import re
from difflib import get_close_matches

import numpy as np
import pandas as pd

from c2sflow.errors import UserError

# What a query may be made of: nothing that calls, reaches into an object or indexes.
ALLOWED_NODES = (
    ast.Expression,
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.boolop,
    ast.unaryop,
    ast.cmpop,
    ast.BitAnd,
    ast.BitOr,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.Mod,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.List,
    ast.Tuple,
)
QUOTED_OR_BACKTICKED = re.compile(r"""'[^'\\]*'|"[^"\\]*"|`([^`]*)`""")


def select_cells(obs: pd.DataFrame, query: str | None, where: str) -> np.ndarray:
    """Which cells a query selects, evaluated without running any code of the user's.

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
        If the query is malformed, names no column of obs, or gives no yes or no per cell.
    """
    if query is None:
        return np.ones(len(obs), dtype=bool)
    where = f"{where} {query!r}"
    rewritten, names = _rewrite(query, where)
    for name in names.values():
        if name not in obs:
            close = get_close_matches(name, map(str, obs.columns), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {_listed(obs.columns)}"
            raise UserError(f"{where}: obs has no column {name!r}; {hint}")
    # Each column gets a plain name, and only those the query uses are within its reach.
    frame = pd.DataFrame({key: obs[name] for key, name in names.items()}, index=obs.index)
    try:
        chosen = frame.eval(rewritten, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # whatever a comparison of the user's columns can raise
        raise UserError(f"{where}: {type(error).__name__}: {error}") from None
    if not isinstance(chosen, pd.Series) or not pd.api.types.is_bool_dtype(chosen.dtype):
        raise UserError(f"{where}: gives no yes or no per cell; compare a column with a value")
    return chosen.fillna(False).to_numpy(dtype=bool)


def query_columns(query: str, where: str) -> list[str]:
    """Columns of obs that a query names.

    Raises
    ------
    UserError
        If the query is malformed.
    """
    return list(_rewrite(query, f"{where} {query!r}")[1].values())


def _listed(names: object, most: int = 12) -> str:
    names = [str(name) for name in names]
    return (", ".join(names[:most]) + (", …" if len(names) > most else "")) or "no column"


def _rewrite(query: str, where: str) -> tuple[str, dict[str, str]]:
    """The query with plain names for columns, and which column each plain name stands for."""
    plain: dict[str, str] = {}

    def replace(match: re.Match) -> str:
        if match[1] is None:  # quoted text
            return match[0]
        return plain.setdefault(match[1], f"column_{len(plain)}")

    text = QUOTED_OR_BACKTICKED.sub(replace, query.strip())
    backticked = set(plain.values())
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = (
            "compare with =="
            if re.search(r"[^=<>!]=[^=]", text)
            else "put text in quotes, and column names with spaces in `backticks`"
        )
        raise UserError(f"{where}: not a query; {hint}") from None
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED_NODES):
            raise UserError(
                f"{where}: a query may not hold this ({type(node).__name__}); use comparisons, "
                "in, not in, and, or, not"
            )
        if isinstance(node, ast.Name) and node.id not in backticked:
            node.id = plain.setdefault(node.id, f"column_{len(plain)}")
    return ast.unparse(tree), {key: name for name, key in plain.items()}


def obsm_keys(text: str | None) -> list[str]:
    """The keys that --evaluation_key names, with commas between."""
    return [key.strip() for key in (text or "").split(",") if key.strip()]
