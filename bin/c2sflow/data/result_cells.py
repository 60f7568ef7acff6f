"""Cells of a result file, read as they are needed: a few rows at a time, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from anndata.io import sparse_dataset
from scipy import sparse

from c2sflow.common.opened import open_result, reading

COUNTS = "layers/counts"


class ResultCells:
    """Rows of a result, such as c2s.h5ad, in any order; of a matrix only these are read.

    Attributes
    ----------
    has_counts
        Whether the file has ``layers["counts"]``: all samples came as counts.
    """

    def __init__(self, file: h5py.Group):
        self._file = file
        self.has_counts = COUNTS in file
        names = ("X", COUNTS) if self.has_counts else ("X",)
        self._matrices = {name: sparse_dataset(file[name]) for name in names}

    def expression(self, rows: np.ndarray) -> sparse.csr_matrix:
        """X, in the base of the file: CSR (n_rows, n_genes)."""
        return self._matrix("X", rows)

    def counts(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Raw counts, CSR (n_rows, n_genes)."""
        return self._matrix(COUNTS, rows)

    def depths(self, rows: np.ndarray) -> np.ndarray:
        """Counts of each cell over the genes of the file, int64 (n_rows,)."""
        sums = self.counts(rows).sum(axis=1, dtype=np.float64)
        return np.rint(np.asarray(sums).ravel()).astype(np.int64)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """X_c2s, float32 (n_rows, hidden_size)."""
        once, place = np.unique(rows, return_inverse=True)
        return self._file["obsm/X_c2s"][once][place]

    def _matrix(self, name: str, rows: np.ndarray) -> sparse.csr_matrix:
        once, place = np.unique(rows, return_inverse=True)
        return sparse.csr_matrix(self._matrices[name][once])[place]


@contextmanager
def open_cells(path: Path | None) -> Iterator[ResultCells | None]:
    """The cells of this file; None without one."""
    if path is None:
        yield None
        return
    with reading(path), open_result(path) as file:
        yield ResultCells(file)
