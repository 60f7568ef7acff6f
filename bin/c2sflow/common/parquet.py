"""Parquet files that an earlier step wrote, read with an error that names a damaged one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from c2sflow.common.opened import reading


def column_names(path: str | Path, of: str = "") -> list[str]:
    """Names of the columns of a Parquet file.

    Raises
    ------
    UserError
        If it is missing or broken.
    """
    with reading(path, of):
        return pq.read_schema(path).names


def read_parquet(path: str | Path, columns: Sequence[str] | None = None, of: str = "") -> pa.Table:
    """A Parquet file, or some of its columns.

    Raises
    ------
    UserError
        If it is missing or broken, or lacks a column.
    """
    with reading(path, of):
        table = pq.read_table(path, columns=None if columns is None else list(columns))
        if missing := set(columns or ()) - set(table.column_names):
            raise KeyError(missing)
        return table
