"""Whether a query selects in later steps what it selects in the input, checked by VALIDATE."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from c2sflow.bulk import TOP
from c2sflow.errors import UserError
from c2sflow.obs_queries import query_columns, select_cells
from c2sflow.query_kinds import COLUMN, MISSING, NUMBER, column_operand
from c2sflow.shard_columns import N_GENES, RESERVED

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
        """Which cells of a sample a query selects: see `c2sflow.obs_queries.select_cells`.

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
