"""Genes that QC filters from one sample and another sample keeps: their values are not lost.

A gene below ``--min_cells`` in a sample is in none of its sentences. Where another sample keeps
the gene, all samples together have a column for it, and a 0 there would read as measured. So QC
writes the values of filtered genes beside the matrix, and what joins samples puts them back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.data.genes.alignment import UNKNOWN, GeneAlignment, GeneTable
from c2sflow.data.h5ad import RowWriter, write_element

PLACE = "uns/c2s_filtered_genes"  # in QC's h5ad, as of a file: var, X, layers


class FilteredWriter:
    """Append rows of the filtered genes to QC's h5ad, matrix by matrix as of the kept genes.

    Parameters
    ----------
    file
        h5ad of QC, open for writing.
    var
        Of the filtered genes.
    """

    def __init__(self, file: h5py.File, var: pd.DataFrame):
        self._file, self._n_genes = file, len(var)
        self._writers: dict[str, RowWriter] = {}
        if len(var):
            for name, value in {PLACE: {}, f"{PLACE}/layers": {}, f"{PLACE}/var": var}.items():
                write_element(file, name, value)

    def append(self, blocks: Mapping[str, sparse.csr_matrix]) -> None:
        """Append rows to matrices with values at the same places: "X" and "layers/NAME"."""
        if not self._n_genes:
            return
        first, *beside = [f"{PLACE}/{key}" for key in blocks]
        if first not in self._writers:
            self._writers[first] = RowWriter(self._file, first, self._n_genes, beside)
        self._writers[first].append(*blocks.values())


def filtered_table(file: h5py.File) -> GeneTable:
    """The genes filtered from a sample, from QC's h5ad."""
    return GeneTable.from_file(file[PLACE]) if PLACE in file else GeneTable(())


class FilteredColumns:
    """Columns, among those of the kept genes of all samples, of the genes filtered from each.

    `add` every sample, then ask.
    """

    def __init__(self) -> None:
        self._every = GeneAlignment()  # of kept and filtered genes
        self._kept_in: dict[int, int] | None = None

    def add(self, kept: GeneTable, filtered: GeneTable) -> None:
        """Take in one sample."""
        self._every.add(_together(kept, filtered))
        self._kept_in = None

    def columns(self, kept: GeneTable, filtered: GeneTable, genes: GeneAlignment) -> np.ndarray:
        """Column in `genes` of each gene filtered from a sample that was added.

        Returns
        -------
        int32 (n_filtered,): -1 for a gene that no sample keeps, or of which it is not certain
        that it is the same gene.
        """
        if self._kept_in is None:
            self._kept_in = self._every.columns_in(genes)
        own = self._every.columns(_together(kept, filtered))[len(kept.symbols) :]
        found = np.array([self._kept_in.get(column, -1) for column in own.tolist()], np.int32)
        taken = np.isin(found, genes.columns(kept))
        again = pd.Series(found).duplicated(keep=False).to_numpy()
        return np.where(taken | again, np.int32(-1), found)


def _together(kept: GeneTable, filtered: GeneTable) -> GeneTable:
    pairs = [*kept.pairs(), *filtered.pairs()]
    ids = [own for _, own in pairs]
    return GeneTable(
        [symbol for symbol, _ in pairs],
        ids if any(own != UNKNOWN for own in ids) else (),
        [*kept.repeated, *filtered.repeated],
    )


def with_filtered(
    kept: sparse.csr_matrix, filtered: sparse.csr_matrix, columns: Sequence[int] | np.ndarray
) -> sparse.csr_matrix:
    """Rows with the values of the filtered genes that have a column.

    Parameters
    ----------
    kept
        CSR (n_rows, n_vars): rows in the columns of all samples.
    filtered
        CSR (n_rows, n_filtered): the same rows of the sample's filtered genes.
    columns
        Of `FilteredColumns.columns`, (n_filtered,).

    Returns
    -------
    CSR (n_rows, n_vars).
    """
    entries = filtered.tocoo()
    places = np.asarray(columns)[entries.col]
    inside = places >= 0
    if not inside.any():
        return kept
    own = kept.tocoo()
    # Not by adding, which drops stored zeros: how many values there are is counted before.
    rows = np.concatenate([own.row, entries.row[inside]])
    where = (rows, np.concatenate([own.col, places[inside]]))
    values = np.concatenate([own.data, entries.data[inside]])
    return sparse.csr_matrix((values, where), shape=kept.shape)
