"""zarr stores of anndata's form, of which several processes write parts at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from numcodecs import Blosc
from scipy import sparse
from zarr.storage import LocalStore

from c2sflow.data.h5ad import MOST_INT32, prepare

CHUNK = 2**20  # values of a sparse matrix in a file
CHUNK_BYTES = 2**22  # of a dense array in a file
# Shuffled, the high bytes of sorted indices repeat.
PACKED = Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE)


@contextmanager
def create_zarr(path: str | Path, obs: pd.DataFrame, var: pd.DataFrame) -> Iterator[zarr.Group]:
    """Make a zarr store with these annotations, as `c2sflow.data.h5ad.create_h5ad` makes a file.

    Its metadata are gathered in one file in the end, so that a store on a server opens in one
    request.
    """
    group = zarr.open_group(path, mode="w", zarr_format=2)  # which every version of anndata reads
    prepare(group, obs, var)
    yield group
    zarr.consolidate_metadata(group.store)


def place(group: zarr.Group) -> Path:
    """The folder that a store is in."""
    assert isinstance(group.store, LocalStore)
    return group.store.root


def create_csr(group: zarr.Group, key: str, shape: tuple[int, int], n_values: int) -> None:
    """Make a CSR matrix, float32, to be filled by `RowsWriter`s.

    Indices and row pointers are int32, and int64 from `MOST_INT32` values on, as in an h5ad.

    Parameters
    ----------
    key
        Of the matrix, such as "layers/counts".
    """
    matrix = group.create_group(key)
    matrix.attrs.update(
        {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [*map(int, shape)]}
    )
    places = np.int64 if n_values > MOST_INT32 else np.int32
    sizes = {"data": n_values, "indices": n_values, "indptr": shape[0] + 1}
    for name, size in sizes.items():
        dtype = np.float32 if name == "data" else places
        matrix.create_array(name, shape=(size,), dtype=dtype, chunks=(CHUNK,), compressors=PACKED)


def create_dense(group: zarr.Group, key: str, shape: Sequence[int], dtype: np.dtype | type) -> None:
    """Make a dense array, to be filled by `PartWriter`s. Vectors hardly compress: they are plain.

    Parameters
    ----------
    key
        Of the array, such as "obsm/X_c2s".
    """
    width = np.dtype(dtype).itemsize * math.prod(shape[1:])
    chunks = (max(1, CHUNK_BYTES // max(1, width)), *(max(1, n) for n in shape[1:]))
    array = group.create_array(
        key, shape=tuple(shape), dtype=dtype, chunks=chunks, compressors=None
    )
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


Edge = tuple[str, int, np.ndarray]  # key of an array, where in it, values


class PartWriter:
    """Append to one part of an array, while other processes write its other parts.

    Only whole chunks are written, for a chunk is a file, and two that write it would each lose what
    the other writes. What is left at both ends of the part are the edges, for `write_edges` once
    all parts are written.

    Parameters
    ----------
    key
        Of an array of `group`.
    start
        First row of the part.
    """

    def __init__(self, group: zarr.Group, key: str, start: int):
        self._array = _array(group, key)
        self._key, self._at = key, start
        self._held: list[np.ndarray] = []
        self._edges: list[Edge] = []

    def append(self, rows: np.ndarray) -> None:
        """Append rows, which are held until their chunk is full."""
        self._held.append(rows)
        length = self._array.chunks[0]
        stop = (self._at + sum(map(len, self._held))) // length * length
        if stop <= self._at:
            return
        held = np.concatenate(self._held)
        first = min(-self._at % length, stop - self._at)
        if first:
            self._edges.append((self._key, self._at, held[:first]))
        if self._at + first < stop:
            self._array[self._at + first : stop] = held[first : stop - self._at]
        self._held = [held[stop - self._at :].copy()]
        self._at = stop

    def edges(self) -> list[Edge]:
        """What is not written, at both ends."""
        rest = [rows for rows in self._held if len(rows)]
        last = [(self._key, self._at, np.concatenate(rest))] if rest else []
        return [*self._edges, *last]


class RowsWriter:
    """Append rows to one part of a CSR matrix that `create_csr` made.

    Parameters
    ----------
    first_row, first_value
        Where the part begins.
    """

    def __init__(self, group: zarr.Group, key: str, first_row: int, first_value: int):
        starts = {"data": first_value, "indices": first_value, "indptr": first_row + 1}
        self._parts = {
            name: PartWriter(group, f"{key}/{name}", start) for name, start in starts.items()
        }
        self._dtype = _array(group, f"{key}/indptr").dtype
        self._n_values = first_value
        if not first_row:
            self._parts["indptr"] = PartWriter(group, f"{key}/indptr", 0)
            self._parts["indptr"].append(np.zeros(1, self._dtype))

    def append(self, block: sparse.csr_matrix) -> None:
        """Append rows, their indices sorted."""
        own = block if block.has_sorted_indices else block.sorted_indices()
        ends = own.indptr[1:].astype(np.int64) + self._n_values
        self._parts["data"].append(own.data.astype(np.float32, copy=False))
        self._parts["indices"].append(own.indices.astype(self._dtype, copy=False))
        self._parts["indptr"].append(ends.astype(self._dtype))
        self._n_values += own.nnz

    def edges(self) -> list[Edge]:
        """What is not written, at both ends of each array."""
        return [edge for part in self._parts.values() for edge in part.edges()]


def write_edges(group: zarr.Group, edges: Sequence[Edge]) -> None:
    """Write what `PartWriter`s have left."""
    for key, start, values in edges:
        _array(group, key)[start : start + len(values)] = values


def _array(group: zarr.Group, key: str) -> zarr.Array:
    found = group[key]
    assert isinstance(found, zarr.Array)
    return found
