"""Files that an earlier step wrote, opened: one that is damaged is named, and so is what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import pyarrow as pa
import pyarrow.parquet as pq

from c2sflow.common.errors import UserError
from c2sflow.common.files import unreadable


@contextmanager
def reading(path: str | Path, of: str = "") -> Iterator[None]:
    """Read a file in this block, and no more than that: what fails in it is the file's fault.

    Parameters
    ----------
    of
        What the message begins with, such as "shard ".

    Raises
    ------
    UserError
        If the block raises OSError, KeyError or ValueError; see `c2sflow.common.files.unreadable`.
    """
    try:
        yield
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{of}{unreadable(path, error)}") from None


@contextmanager
def open_h5(path: str | Path, of: str = "") -> Iterator[h5py.File]:
    """Open an HDF5 file, and read it as `reading` does."""
    with reading(path, of), h5py.File(path) as file:
        yield file


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
