"""Entries of a sparse matrix that are not in the order of rows, read by rows.

A matrix by columns (CSC) or a list of entries (Matrix Market) is read once from front to end; each
entry goes to a temporary file by its band of rows, and one band at a time comes back as CSR. Memory
holds a block of entries, one band and two integers a row, whatever the size of the matrix. The
files are where Python keeps its temporary files (TMPDIR) and take 8 bytes an entry and its value.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from c2sflow.data.stored import StoredGroup

# row, column, value of each entry, in blocks of at most `BLOCK`
Entries = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]
BLOCK = 2**21  # entries read at once
BAND = 2**22  # entries in a band, about
MOST_BANDS = 4096


class RowBands:
    """A matrix of unordered entries, to be sliced by rows.

    Parameters
    ----------
    entries
        Makes an iterator over all entries: (row, column, value) arrays of the same length.
    shape
        Rows and columns.
    n_entries
        How many entries there are, about: it decides how many bands.
    dtype
        Of the values.
    """

    def __init__(
        self,
        entries: Callable[[], Entries],
        shape: tuple[int, int],
        n_entries: int,
        dtype: np.dtype,
    ):
        self._entries = entries
        self.shape, self.n_entries = shape, n_entries
        n_bands = min(MOST_BANDS, max(1, n_entries // BAND))
        self._height = max(1, math.ceil(shape[0] / n_bands))
        # scipy's sparse matrices hold no float16.
        dtype = np.dtype(np.float32) if dtype == np.float16 else dtype
        self._record = np.dtype([("row", "<i4"), ("column", "<i4"), ("value", dtype)])
        self._folder: tempfile.TemporaryDirectory | None = None
        self._held: tuple[int, sparse.csr_matrix] | None = None

    def _checked(self) -> Entries:
        for row, column, value in self._entries():
            if not row.size == column.size == value.size:
                raise ValueError("indices and data are not of the same length")
            for found, size in zip((row, column), self.shape, strict=True):
                if found.size and not 0 <= found.min() <= found.max() < size:
                    raise ValueError("an index is outside the matrix")
            yield row, column, value

    def select(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Some rows in ascending order, in one reading of all entries; no file is made."""
        empty = np.empty(0, np.intp)
        chosen = [(empty, empty, np.empty(0, self._record["value"]))]
        for row, column, value in self._checked():
            place = np.minimum(np.searchsorted(rows, row), rows.size - 1)
            is_in = rows[place] == row
            chosen.append((place[is_in], column[is_in], value[is_in]))
        row, column, value = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
        return sparse.csr_matrix((value, (row, column)), shape=(rows.size, self.shape[1]))

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        """Rows as CSR."""
        start, stop, _ = rows.indices(self.shape[0])
        if stop <= start:
            return sparse.csr_matrix((0, self.shape[1]), dtype=self._record["value"])
        parts = []
        while start < stop:
            band, offset = divmod(start, self._height)
            end = min(stop, (band + 1) * self._height)
            parts.append(self._band(band)[offset : offset + end - start])
            start = end
        return sparse.vstack(parts, "csr")

    def _band(self, number: int) -> sparse.csr_matrix:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="c2sflow-")
            self._sort_into_files(Path(self._folder.name))
        if self._held is None or self._held[0] != number:
            self._held = None  # one band in memory, not two
            self._held = number, self._read(Path(self._folder.name), number)
        return self._held[1]

    def _read(self, folder: Path, number: int) -> sparse.csr_matrix:
        path = folder / str(number)
        records = np.fromfile(path, self._record) if path.exists() else np.empty(0, self._record)
        height = min(self._height, self.shape[0] - number * self._height)
        places = records["row"], records["column"]
        return sparse.csr_matrix((records["value"], places), shape=(height, self.shape[1]))

    def _sort_into_files(self, folder: Path) -> None:
        for row, column, value in self._checked():
            band, inside = np.divmod(row, self._height)
            order = np.argsort(band.astype(np.uint16), kind="stable")  # a radix sort
            records = np.empty(row.size, self._record)
            records["row"], records["column"] = inside[order], column[order]
            records["value"] = value[order]
            counts = np.bincount(band)
            ends = np.cumsum(counts)
            for number in np.flatnonzero(counts):
                with (folder / str(number)).open("ab") as file:
                    records[ends[number] - counts[number] : ends[number]].tofile(file)

    def close(self) -> None:
        """Remove the temporary files."""
        if self._folder is not None:
            self._folder.cleanup()


def csc_rows(group: StoredGroup) -> RowBands:
    """Rows of a CSC matrix of an h5ad or zarr store.

    Parameters
    ----------
    group
        With data, indices and indptr, and shape among its attributes.
    """
    n_rows, n_columns = (int(n) for n in group.attrs["shape"])
    pointers = group["indptr"][:].astype(np.int64)
    data, indices = group["data"], group["indices"]
    n_entries = int(pointers[-1])

    def entries() -> Entries:
        for start in range(0, n_entries, BLOCK):
            stop = min(start + BLOCK, n_entries)
            places = np.arange(start, stop)
            columns = np.searchsorted(pointers, places, side="right") - 1
            yield indices[start:stop], columns, data[start:stop]

    return RowBands(entries, (n_rows, n_columns), n_entries, np.dtype(data.dtype))
