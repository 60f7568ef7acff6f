"""Files that an earlier step wrote, opened: one that is damaged is named, and so is what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

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


@contextmanager
def open_result(path: str | Path) -> Iterator[h5py.Group]:
    """Open a result to read: an h5ad, or a zarr store of a run with ``--output_format zarr``.

    A group of zarr is read as one of h5py is.
    """
    if not Path(path).is_dir():
        with h5py.File(path) as file:
            yield file
        return
    import zarr

    yield zarr.open_group(path, mode="r")
