"""A CSR matrix on disk, read by rows."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from c2sflow.data.stored import StoredGroup


class CsrRows:
    """A CSR matrix of an open h5ad or zarr store, to be sliced by rows.

    anndata's own opens its datasets anew for each slice, so that HDF5 decompresses the chunk
    between two slices twice, and asks which version of scipy is installed, which takes 5 ms.

    Parameters
    ----------
    group
        With ``data``, ``indices`` and ``indptr``. Memory holds the row pointers.
    """

    def __init__(self, group: StoredGroup):
        self._data, self._indices = group["data"], group["indices"]
        self._pointers = group["indptr"][:]
        n_rows, self._n_columns = map(int, group.attrs["shape"])
        self.shape = n_rows, self._n_columns

    @property
    def n_entries(self) -> int:
        """Number of values that are stored."""
        return int(self._data.shape[0])

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        """Rows as they are stored: indices may be unsorted, and wrong in a damaged file."""
        start, stop, _ = rows.indices(self.shape[0])
        pointers = self._pointers[start : max(start, stop) + 1].astype(np.int64)
        first, last = int(pointers[0]), int(pointers[-1])
        if not 0 <= first <= last <= self.n_entries:
            raise ValueError(f"rows {start} to {stop - 1} are at no place of the matrix")
        entries = self._data[first:last], self._indices[first:last], pointers - first
        return sparse.csr_matrix(entries, (len(pointers) - 1, self._n_columns))
