"""var of all samples together: the columns that are the same for a gene wherever it is."""

from __future__ import annotations

from collections.abc import Iterable

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from c2sflow.data.genes.alignment import UNKNOWN, GeneAlignment


class VarFold:
    """Columns of var that are the same for a gene in every sample that has it.

    Parameters
    ----------
    columns
        Those that every sample has.
    n_genes
        Of all samples.
    """

    def __init__(self, columns: Iterable[str], n_genes: int):
        self._known = np.zeros(n_genes, dtype=bool)
        self._texts = {name: np.empty(n_genes, dtype=object) for name in columns}
        self._parts: list[pd.DataFrame] = []  # the genes that no sample before had

    def add(self, var: h5py.Group, columns: np.ndarray) -> None:
        """Take in a sample: its var, and the column of each of its genes."""
        is_new = ~self._known[columns]
        for name, texts in [*self._texts.items()]:
            found = _as_bytes(var[name])
            if (texts[columns[~is_new]] != found[~is_new]).any():
                del self._texts[name]
            else:
                texts[columns[is_new]] = found[is_new]
        if is_new.any():
            self._parts.append(read_elem(var).loc[is_new, list(self._texts)])
        self._known[columns] = True

    def frame(self, genes: GeneAlignment) -> pd.DataFrame:
        """var of all genes, with ``gene_ids`` if Ensembl ids are known."""
        frame = pd.concat([part[list(self._texts)] for part in self._parts])
        if "gene_ids" not in frame and any(own != UNKNOWN for own in genes.ids):
            frame["gene_ids"] = genes.ids
        return frame.set_axis(genes.names)


def _as_bytes(item: h5py.Dataset | h5py.Group) -> np.ndarray:
    """Values of a column as UTF-8, to be compared; texts, the most of them, are not decoded."""
    if isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype):
        return item[:]
    values = pd.Series(read_elem(item))
    codes, distinct = pd.factorize(values)
    texts = [str(value).encode() for value in distinct] + [b""]  # of -1: missing
    return np.array(texts, dtype=object)[codes]
