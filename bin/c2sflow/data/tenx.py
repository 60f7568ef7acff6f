"""10x Genomics' formats, read by rows of cells: HDF5 of any Cell Ranger, and directories.

As scanpy reads them: names are symbols, ``gene_ids``, ``feature_types`` and what else the file has
of the features are columns of var. Features of every type are read; `c2sflow.data.genes.features`
separates genes from other features.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.csc_to_csr import BLOCK, Entries, RowBands


class FeatureRows:
    """Cells × features of a group that holds data, indices and indptr by cell."""

    def __init__(self, group: h5py.Group, n_features: int):
        self._group = group
        self._n_features = n_features
        self._pointers = group["indptr"][:].astype(np.int64)

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        pointers = self._pointers[rows.start : rows.stop + 1]
        span = slice(pointers[0], pointers[-1])
        arrays = self._group["data"][span], self._group["indices"][span], pointers - pointers[0]
        block = sparse.csr_matrix(arrays, shape=(len(pointers) - 1, self._n_features))
        block.check_format()
        return block


class GenomeRows:
    """Cells × features of several groups, one a genome, each with cells of its own.

    Parameters
    ----------
    groups
        The rows of each group.
    places
        Of each group: its row of each cell, -1 for none; n_obs.
    """

    def __init__(self, groups: list[FeatureRows], places: list[np.ndarray]):
        self._parts = list(zip(groups, places, strict=True))

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        return sparse.hstack(
            [_some_rows(group, place[rows]) for group, place in self._parts], "csr"
        )


def _some_rows(group: FeatureRows, places: np.ndarray) -> sparse.csr_matrix:
    """Rows in any order, empty ones for -1; read from the first to the last of them."""
    there = places >= 0
    if not there.any():
        return sparse.csr_matrix((places.size, group[0:0].shape[1]), dtype=np.float32)
    start, stop = int(places[there].min()), int(places.max()) + 1
    block = group[slice(start, stop)]
    empty = sparse.csr_matrix((1, block.shape[1]), dtype=block.dtype)
    rows = np.where(there, places - start, block.shape[0])
    return sparse.vstack([block, empty], "csr")[rows]


def read_h5(
    file: h5py.File,
) -> tuple[FeatureRows | GenomeRows, pd.DataFrame, pd.DataFrame]:
    """X by rows, obs and var of an open HDF5 file."""
    if "matrix" not in file:
        return _read_old_h5(file)
    group = file["matrix"]
    barcodes, features = group["barcodes"].asstr()[:], group["features"]
    name = "name" if "name" in features else "id"
    # Flex and targeted runs keep sets of probes beside the features, in a group of their own.
    columns = {
        key: item
        for key, item in features.items()
        if isinstance(item, h5py.Dataset)
        and item.shape == features[name].shape
        and not key.startswith("_")
    }
    table = pd.DataFrame(
        {
            {"id": "gene_ids", "feature_type": "feature_types"}.get(key, key): item.asstr()[:]
            if h5py.check_string_dtype(item.dtype)
            else item[:]
            for key, item in columns.items()
        }
    )
    table = table.set_index("name") if name == "name" else table.set_index("gene_ids", drop=False)
    if tuple(group["shape"][:]) != (len(table), len(barcodes)):
        raise ValueError("shape is not that of the features and barcodes")
    return FeatureRows(group, len(table)), pd.DataFrame(index=barcodes), table


def _read_old_h5(file: h5py.File) -> tuple[FeatureRows | GenomeRows, pd.DataFrame, pd.DataFrame]:
    """Of Cell Ranger before 3: a group for each genome, with the cells called in it."""
    groups = {
        name: item for name, item in file.items() if "gene_names" in getattr(item, "keys", dict)()
    }
    if not groups:
        raise ValueError(
            f"no group 'matrix', nor one for each genome, but {', '.join(file) or 'nothing'}"
        )
    tables, cells = [], []
    for genome, group in groups.items():
        ids, names = group["genes"].asstr()[:], group["gene_names"].asstr()[:]
        tables.append(pd.DataFrame({"gene_ids": ids, "genome": genome}, names))
        cells.append(pd.Index(group["barcodes"].asstr()[:]))
        if tuple(group["shape"][:]) != (len(names), len(cells[-1])):
            raise ValueError("shape is not that of the genes and barcodes")
    barcodes = cells[0]
    for index in cells[1:]:
        barcodes = barcodes if index.equals(barcodes) else barcodes.union(index)
    parts = [
        FeatureRows(group, len(table)) for group, table in zip(groups.values(), tables, strict=True)
    ]
    var = pd.concat(tables)
    if len(groups) == 1:
        return parts[0], pd.DataFrame(index=barcodes), var.drop(columns="genome")
    places = [index.get_indexer(barcodes) for index in cells]
    return GenomeRows(parts, places), pd.DataFrame(index=barcodes), var


def read_directory(path: Path, label: str) -> tuple[RowBands, pd.DataFrame, pd.DataFrame]:
    """X by rows, obs and var of a directory of matrix.mtx, barcodes.tsv and features.tsv.

    Raises
    ------
    UserError
        If one of the files is missing.
    """
    matrices = sorted(path.glob("*matrix.mtx*"))
    if len(matrices) != 1:
        raise UserError(
            f"{label}: a 10x matrix directory holds one matrix.mtx[.gz] with its barcodes and "
            f"features; found {len(matrices)}"
        )
    prefix = matrices[0].name.split("matrix.mtx")[0]
    barcodes = _table(path, prefix, ("barcodes",), label)
    features = _table(path, prefix, ("features", "genes"), label)
    names = ("gene_ids", "name", "feature_types")
    features = features.iloc[:, :3].set_axis(names[: features.shape[1]], axis=1).set_index("name")
    rows = _market_rows(matrices[0], (len(features), len(barcodes)))
    return rows, pd.DataFrame(index=barcodes[0].to_numpy()), features


def _table(path: Path, prefix: str, names: tuple[str, ...], label: str) -> pd.DataFrame:
    for name in names:
        for found in (path / f"{prefix}{name}.tsv.gz", path / f"{prefix}{name}.tsv"):
            if found.is_file():
                # A gene may be called NA.
                return pd.read_csv(
                    found, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3
                )
    raise UserError(f"{label}: no {prefix}{names[0]}.tsv[.gz] beside the matrix")


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _read_header(handle: IO[str]) -> tuple[int, int, int]:
    """Rows, columns and entries; the handle is left at the first entry."""
    kind = handle.readline().lower().split()
    if kind[:3] != ["%%matrixmarket", "matrix", "coordinate"] or kind[4:] != ["general"]:
        raise ValueError("matrix.mtx is no coordinate matrix of Matrix Market")
    if kind[3] not in ("integer", "real"):
        raise ValueError(f"matrix.mtx holds {kind[3]} values")
    line = handle.readline()
    while line.startswith("%"):
        line = handle.readline()
    n_rows, n_columns, n_entries = map(int, line.split())
    return n_rows, n_columns, n_entries


def _market_rows(path: Path, shape: tuple[int, int]) -> RowBands:
    """Cells × features of a Matrix Market file of features × cells."""
    with _open(path) as handle:
        *found, n_entries = _read_header(handle)
    if tuple(found) != shape:
        raise ValueError(f"matrix.mtx is {found[0]} × {found[1]}, not {shape[0]} × {shape[1]}")
    types = {"feature": np.int64, "cell": np.int64, "value": np.float32}

    def entries() -> Entries:
        n_read = 0
        with _open(path) as handle:
            _read_header(handle)
            # The rest of an open file: pandas reads on from where the header ends.
            blocks = pd.read_csv(
                handle, sep=r"\s+", header=None, names=list(types), dtype=types, chunksize=BLOCK
            )
            for block in blocks if n_entries else ():
                n_read += len(block)
                feature, cell = block["feature"].to_numpy() - 1, block["cell"].to_numpy() - 1
                if len(block) and not 0 <= feature.min() <= feature.max() < shape[0]:
                    raise ValueError("matrix.mtx names a feature that is not there")
                yield cell, feature, block["value"].to_numpy()
        if n_read != n_entries:
            raise ValueError(f"matrix.mtx holds {n_read} entries, not {n_entries}")

    return RowBands(entries, (shape[1], shape[0]), n_entries, np.dtype(np.float32))
