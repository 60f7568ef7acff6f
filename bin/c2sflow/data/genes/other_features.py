"""Features that are no genes, kept as they came: ``obsm["c2s_<kind>"]``, names in uns.

QC writes those of a sample, MERGE joins those of all samples by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset
from scipy import sparse

from c2sflow.data.backed import CellData
from c2sflow.data.h5ad import RowWriter, write_element

NAMES = "c2s_features"  # of uns: names of the features of each kind
BLOCK = 4096  # rows copied at a time


def obsm_key(kind: str) -> str:
    """Where features of a kind are: a name of our own, beside what the input has in obsm."""
    return f"c2s_{kind}"


def write_features(
    file: h5py.File,
    data: CellData,
    cells: np.ndarray,
    others: Mapping[str, tuple[np.ndarray, pd.Index]],
    chunk_size: int | None,
) -> None:
    """Write the features of a sample that are no genes to obsm and uns.

    Parameters
    ----------
    file
        h5ad of QC, open for writing; its obsm holds that of the input, of an earlier run perhaps.
    data
        The open input.
    cells
        bool (n_obs,): the cells that are kept.
    others
        Of each kind: columns of the stored matrix, and names.
    chunk_size
        Rows read at once; None bounds memory.
    """
    names = {kind: own.to_numpy(object) for kind, (_, own) in others.items()}
    writers: dict[str, RowWriter] = {}
    for kind, own in names.items():
        key = f"obsm/{obsm_key(kind)}"
        if key in file:
            del file[key]
        writers[kind] = RowWriter(file, key, len(own))
    if names:
        columns = np.concatenate([columns for columns, _ in others.values()])
        ends = np.cumsum([0, *map(len, names.values())])
        for start, block in data.chunks(chunk_size, columns=columns):
            kept = block[cells[start : start + block.shape[0]]]
            for n, writer in enumerate(writers.values()):
                writer.append(kept[:, ends[n] : ends[n + 1]])
    before = data.recorded(NAMES)
    if isinstance(before, dict):  # of a run whose result is this run's input
        kept = {kind: own for kind, own in before.items() if obsm_key(kind) in file["obsm"]}
        names = kept | names
    if names:
        write_element(file, f"uns/{NAMES}", names)


def feature_names(file: h5py.File) -> dict[str, list[str]]:
    """Names of the features of each kind that QC kept."""
    group = file.get(f"uns/{NAMES}", {})
    return {kind: list(read_elem(group[kind])) for kind in group if obsm_key(kind) in file["obsm"]}


def merge_features(paths: Iterable[Path], out: h5py.File) -> dict[str, dict[str, np.ndarray]]:
    """Write ``obsm["c2s_<kind>"]`` (CSR float32) of all cells.

    A feature that a sample lacks is 0 there, as a gene is. One file is open at a time.

    Parameters
    ----------
    paths
        h5ad files of QC, in the order of the samples.
    out
        c2s.h5ad, open for writing.

    Returns
    -------
    For uns: the names of each kind, in `NAMES`; empty if there are none.
    """
    paths = list(paths)
    found: dict[str, dict[str, None]] = {}  # kind to the names of its features, each once
    for path in paths:
        with h5py.File(path) as file:
            for kind, names in feature_names(file).items():
                found.setdefault(kind, {}).update(dict.fromkeys(names))
    every = {kind: pd.Index(list(own), dtype=object) for kind, own in found.items()}
    writers = {
        kind: RowWriter(out, f"obsm/{obsm_key(kind)}", len(own)) for kind, own in every.items()
    }
    for path in paths if every else ():
        with h5py.File(path) as file:
            here = feature_names(file)
            for kind, writer in writers.items():
                _append(file, kind, every[kind].get_indexer(here.get(kind, [])), writer)
    return {NAMES: {kind: own.to_numpy() for kind, own in every.items()}} if every else {}


def _append(file: h5py.File, kind: str, columns: np.ndarray, writer: RowWriter) -> None:
    """Rows of one sample, block by block, in the columns of all samples."""
    if not columns.size:
        n_cells = len(file["obs"][file["obs"].attrs["_index"]])
        writer.append(sparse.csr_matrix((n_cells, writer.n_columns), dtype=np.float32))
        return
    item = file[f"obsm/{obsm_key(kind)}"]
    matrix = sparse_dataset(item) if isinstance(item, h5py.Group) else item
    for start in range(0, matrix.shape[0], BLOCK):
        block = sparse.csr_matrix(matrix[start : start + BLOCK])
        shape = (block.shape[0], writer.n_columns)
        moved = sparse.csr_matrix((block.data, columns[block.indices], block.indptr), shape=shape)
        moved.sort_indices()
        writer.append(moved)
