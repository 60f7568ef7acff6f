"""The measured cells that predictions start from, read from c2s.h5ad as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import sparse_dataset
from scipy import sparse

from c2sflow.common.opened import open_h5
from c2sflow.data.own_columns import own_name
from c2sflow.sentences.no_ops import MEASURED, NO_OP

COUNTS = "layers/counts"
NO_ANSWER = ("n_predicted_genes", "invalid_genes", "duplicate_genes")  # of a measured cell: 0


class SourceCells:
    """Rows of c2s.h5ad, in any order and as often as asked for; of a matrix only these are read.

    Attributes
    ----------
    has_counts
        Whether the file has ``layers["counts"]``: all samples came as counts.
    """

    def __init__(self, file: h5py.File):
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
def open_sources(path: Path | None) -> Iterator[SourceCells | None]:
    """The cells of this c2s.h5ad; None without a file."""
    if path is None:
        yield None
        return
    with open_h5(path) as file:
        yield SourceCells(file)


def control_rows(answers: pd.DataFrame, rows: np.ndarray, label: str) -> pd.DataFrame:
    """obs of measured control cells in the columns of answers; what they have not is missing.

    Parameters
    ----------
    answers
        Some answers, of obs as it is written.
    rows
        Of the control cells in c2s.h5ad.
    label
        Their condition and perturbation.
    """
    frame = answers.iloc[np.zeros(len(rows), dtype=int)].reset_index(drop=True)
    known: Mapping[str, object] = {
        own_name("source_cell"): rows,
        own_name("condition"): label,
        own_name("perturbation"): label,
        **{own_name(name): np.int64(0) for name in NO_ANSWER},
        own_name("truncated"): False,
        own_name("sentence"): "",
        NO_OP: False,
        MEASURED: True,
    }
    for name in frame:
        if name in known:
            frame[name] = known[name]
        else:
            frame[name] = frame[name].where(np.zeros(len(frame), dtype=bool))
    return frame
