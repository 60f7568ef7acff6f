"""Queries on obs: which cells they select, and whether they select the same in every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError, likeliest, some
from c2sflow.data.bulk.bulk import TOP
from c2sflow.data.obs.held_values import MOST_SHOWN
from c2sflow.data.obs.query_kinds import COLUMN, MISSING, NUMBER, check_kinds, column_operand
from c2sflow.data.obs.query_text import MAX_OPERATORS, parse_query
from c2sflow.data.obs.shard_columns import N_GENES, RESERVED


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
            close = likeliest(name, columns)
            held = some([str(column) for column in columns], MOST_SHOWN) or "no column"
            hint = f"did you mean {close[0]!r}?" if close else f"it has {held}"
            raise UserError(f"{where}: obs has no column {name!r}; {hint}")
        if (columns == name).sum() > 1:
            raise UserError(f"{where}: obs has several columns {name!r}; rename all but one")


def obsm_keys(text: str | None) -> list[str]:
    """The keys that --evaluation_key names, with commas between."""
    return [key.strip() for key in (text or "").split(",") if key.strip()]


# Columns that QC measures, and those of the tables of PLAN and EVALUATE.
METRICS = ("n_genes_by_counts", "total_counts", "total_counts_mt", "pct_counts_mt", TOP)
REMADE = frozenset([*METRICS, "shard", "cell_id", N_GENES])
REMADE_TO_TRAIN = frozenset([*RESERVED, "c2s_split"])
# Types of which the values stay the same in one column.
ALIKE = ({"int64", "float64"}, {"int64", "Int64"})


@dataclass
class CheckedQueries:
    """The queries of a run on the samples, one after the other.

    Attributes
    ----------
    trains
        Whether the run trains a model: then its shards are asked, too.
    stored
        Column to each type that it has in a sample, and one such sample.
    """

    trains: bool = False
    stored: dict[str, dict[str, str]] = field(default_factory=dict)

    def select(self, obs: pd.DataFrame, query: str | None, place: str, sample: str) -> np.ndarray:
        """Which cells of a sample a query selects: see `c2sflow.data.obs.queries.select_cells`.

        Raises
        ------
        UserError
            If it would select others later: its column is made anew, or joined to another
            sample's of another type.
        """
        if query is None:
            return select_cells(obs, query, place)
        names = query_columns(query, place)
        for name in names:
            if name in REMADE or (self.trains and name in REMADE_TO_TRAIN):
                raise UserError(
                    f"{place} {query!r}: c2sflow makes a column {name!r} of its own after this "
                    "check; copy yours to another name"
                )
        chosen = select_cells(obs, query, place)
        for name in names:
            if fault := self._note(obs[name], name, sample):
                raise UserError(f"{place} {query!r}: {fault}")
        return chosen

    def _note(self, column: pd.Series, name: str, sample: str) -> str | None:
        """Note the type of a column; what is wrong with it beside the others."""
        found = _stored(column, name)
        if found is None:
            return None
        seen = self.stored.setdefault(name, {})
        for other, place in seen.items():
            if found != other and {found, other} not in ALIKE:
                return (
                    f"obs[{name!r}] holds {found} here and {other} in {place}; give the column one "
                    "type in all samples"
                )
        seen.setdefault(found, sample)
        return None


def _stored(column: pd.Series, name: str) -> str | None:
    """The type of a column as far as the meaning of a query depends on it; None without a value."""
    operand = column_operand(column, name)
    if operand.kind == MISSING:
        return None
    if operand.kind != NUMBER:
        return operand.kind
    if operand.form != COLUMN:
        return "categories of numbers"
    # A nullable type without a gap is as good as numpy's.
    return str(column.dtype) if column.isna().any() else str(column.dtype).lower()
