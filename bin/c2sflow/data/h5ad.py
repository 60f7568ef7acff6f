"""h5ad files written by blocks of rows, whatever the version of anndata and pandas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from scipy import sparse

from c2sflow.data.columns import clean_columns, is_text


def write_element(
    file: h5py.Group, path: str, value: object, options: Mapping | None = None
) -> None:
    """Write what anndata calls an element, such as "obs" or "layers/counts".

    A DataFrame is written as `clean_columns` makes it, and its texts in encodings that anndata
    reads since 0.8: ``string-array`` and ``categorical``, never ``nullable-string-array``.

    Parameters
    ----------
    path
        Within `file`; its folders are made. anndata 0.13 takes no "/" in a key.
    options
        dataset_kwargs of anndata: compression and chunks.
    """
    folder, _, key = path.rpartition("/")
    group = file.require_group(folder) if folder else file
    if isinstance(value, pd.DataFrame):
        frame, _ = clean_columns(value, path)
        texts = [name for name in frame if is_text(frame[name])]
        frame = frame.astype(dict.fromkeys(texts, object))
        value = frame.set_axis(frame.index.astype(object), axis=0)
    write_elem(group, key, value, dataset_kwargs=options or {})


DENSE_ROWS = 4096  # at most in an HDF5 chunk of a dense array
INDEX_CHUNK = 2**16  # values in an HDF5 chunk of a sparse matrix
CHUNK_CACHE = 2**20  # bytes of chunks that an open dataset holds: HDF5 2 would take 8 times as many
MOST_INT32 = np.iinfo(np.int32).max


class RowWriter:
    """Append blocks of rows to a CSR matrix in an open HDF5 file, float32, indices sorted.

    anndata's own ``append`` reads all row pointers again for each block, so that its time grows
    with the square of the number of cells.

    Indices and row pointers have one dtype, as scanpy and scipy's compiled code require: int32,
    and int64 from `MOST_INT32` values on.

    Parameters
    ----------
    file
        Open for writing.
    key
        Of the matrix, such as "X".
    n_columns
        Its width.
    beside
        Keys of more matrices with values at the same places, such as the counts that X is made
        from. Their indices and row pointers are hard links to those of `key`: datasets like any
        other to readers, but compressed and stored once.
    """

    def __init__(self, file: h5py.File, key: str, n_columns: int, beside: Sequence[str] = ()):
        empty = sparse.csr_matrix((0, n_columns), dtype=np.float32)
        for name in (key, *beside):
            write_element(file, name, empty, {"compression": "lzf", "chunks": (INDEX_CHUNK,)})
        self._group = file[key]
        self._beside = [file[name] for name in beside]
        self._data = [group["data"] for group in (self._group, *self._beside)]
        self._set_places(np.int32)
        self.n_columns = n_columns
        self._n_rows = 0
        self._n_values = 0

    def append(self, block: sparse.csr_matrix, *beside: sparse.csr_matrix) -> None:
        """Append rows; of the matrices `beside`, too."""
        if not block.shape[0]:
            return
        blocks = [
            own if own.has_sorted_indices else own.sorted_indices() for own in (block, *beside)
        ]
        n_values = self._n_values + block.nnz
        if n_values > MOST_INT32 and self._group["indptr"].dtype == np.int32:
            self._set_places(np.int64)
        for group, data, own in zip([self._group, *self._beside], self._data, blocks, strict=True):
            _extend(data, own.data.astype(np.float32, copy=False))
            group.attrs["shape"] = [self._n_rows + block.shape[0], self.n_columns]
        _extend(self._indices, blocks[0].indices)
        _extend(self._pointers, block.indptr[1:].astype(np.int64) + self._n_values)
        self._n_values = n_values
        self._n_rows += block.shape[0]

    def _set_places(self, dtype: type[np.integer]) -> None:
        """Write indices and row pointers anew in this dtype, and link them."""
        for name in ("indices", "indptr"):
            _rewrite(self._group, name, dtype)
            for group in self._beside:
                del group[name]
                group[name] = self._group[name]
        # Kept open: HDF5 compresses a chunk when it is full, not at the end of each block.
        self._indices, self._pointers = self._group["indices"], self._group["indptr"]


def _rewrite(group: h5py.Group, name: str, dtype: type[np.integer]) -> None:
    """Write a dataset of whole numbers anew, a few chunks at a time.

    Shuffled, it takes a third of the space: the high bytes of sorted indices repeat.
    """
    old = group[name]
    options = {"compression": "lzf", "shuffle": True, "chunks": (INDEX_CHUNK,), "maxshape": (None,)}
    new = group.create_dataset(f"{name} new", old.shape, dtype, **options)
    new.attrs.update(old.attrs)
    for start in range(0, len(old), 2**6 * INDEX_CHUNK):
        rows = slice(start, start + 2**6 * INDEX_CHUNK)
        new[rows] = old[rows]
    del group[name]
    group.move(f"{name} new", name)


def _extend(dataset: h5py.Dataset, rows: np.ndarray) -> None:
    if len(rows):
        dataset.resize(dataset.shape[0] + len(rows), axis=0)
        dataset[-len(rows) :] = rows


def scale_values(dataset: h5py.Dataset, factor: float) -> None:
    """Multiply a dataset in place, a few chunks at a time."""
    for start in range(0, dataset.shape[0], 2**6 * INDEX_CHUNK):
        rows = slice(start, start + 2**6 * INDEX_CHUNK)
        dataset[rows] = (dataset[rows].astype(np.float64) * factor).astype(dataset.dtype)


def log_base(file: h5py.File) -> float:
    """Base of the logarithm in X of a file of ours: ``uns["log1p"]["base"]``."""
    return float(file["uns/log1p/base"][()])


def row_blocks(
    item: h5py.Group, n_rows: int, first: int = 0, last: int | None = None
) -> Iterator[sparse.csr_matrix]:
    """Rows `first` to `last` of a CSR matrix in an open h5ad file, so many at a time."""
    n_columns = item.attrs["shape"][1]
    pointers = item["indptr"][first : None if last is None else last + 1]
    for start in range(0, len(pointers) - 1, n_rows):
        own = pointers[start : start + n_rows + 1]
        values = slice(own[0], own[-1])
        entries = (item["data"][values], item["indices"][values], own - own[0])
        yield sparse.csr_matrix(entries, (len(own) - 1, n_columns))


def append_dense(group: h5py.Group, key: str, block: np.ndarray) -> None:
    """Append rows to the dense array `key` of an h5ad, making it first if need be."""
    if key not in group:
        width = block.dtype.itemsize * math.prod(block.shape[1:])
        chunks = (max(1, min(DENSE_ROWS, 2**20 // max(1, width))), *block.shape[1:])
        data = group.create_dataset(
            key, shape=(0, *block.shape[1:]), maxshape=(None, *block.shape[1:]),
            dtype=block.dtype, chunks=chunks,
        )  # fmt: skip
        data.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    _extend(group[key], block)


def append_text(group: h5py.Group, key: str, texts: Sequence[str]) -> None:
    """Append to the column of texts `key` of an h5ad, making it first if need be."""
    if key not in group:
        data = group.create_dataset(
            key, shape=(0,), maxshape=(None,), dtype=h5py.string_dtype(), chunks=(DENSE_ROWS,)
        )
        data.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    _extend(group[key], np.asarray(texts, dtype=object))


def write_column(group: h5py.Group, name: str, values: pd.Series) -> None:
    """Add a column, as `clean_columns` makes them, to a table that is written already."""
    values = values.astype(object) if is_text(values) else values
    plain = isinstance(values.dtype, np.dtype)
    write_elem(group, name, values.to_numpy() if plain else values.array)
    group.attrs["column-order"] = [*group.attrs["column-order"], name]


def _small_cache(file: h5py.File) -> h5py.h5ac.CacheConfig:
    """HDF5 would hold the places of all chunks, up to 32 MiB; only the last ones are written."""
    config = file.id.get_mdc_config()
    config.max_size = config.initial_size
    return config


@contextmanager
def create_h5ad(path: str | Path, obs: pd.DataFrame, var: pd.DataFrame) -> Iterator[h5py.File]:
    """Make an h5ad file with these annotations, to be filled by `RowWriter`s."""
    with h5py.File(path, "w", rdcc_nbytes=CHUNK_CACHE) as file:
        file.id.set_mdc_config(_small_cache(file))
        prepare(file, obs, var)
        yield file


def prepare(group: h5py.Group, obs: pd.DataFrame, var: pd.DataFrame) -> None:
    """Write what an AnnData has before its matrices, to an open h5ad or zarr store."""
    group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    write_element(group, "obs", obs)
    write_element(group, "var", var)
    for name in ("uns", "obsm", "layers", "varm", "obsp", "varp"):
        write_element(group, name, {})
