"""10x Genomics' formats, read by rows of cells: HDF5 of any Cell Ranger, and directories.

As scanpy reads them: names are symbols, ``gene_ids``, ``feature_types`` and what else the file says
of the features are columns of var, and only features of type "Gene Expression" are kept.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.errors import UserError
from c2sflow.row_bands import BLOCK, Entries, RowBands

GENES = "Gene Expression"


class FeatureRows:
    """Cells × kept features of a group that holds data, indices and indptr by cell."""

    def __init__(self, group: h5py.Group, kept: np.ndarray):
        self._group = group
        self._kept = kept
        self._pointers = group["indptr"][:].astype(np.int64)

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        pointers = self._pointers[rows.start : rows.stop + 1]
        span = slice(pointers[0], pointers[-1])
        arrays = self._group["data"][span], self._group["indices"][span], pointers - pointers[0]
        block = sparse.csr_matrix(arrays, shape=(len(pointers) - 1, self._kept.size))
        block.check_format()
        return block if self._kept.all() else block[:, self._kept]


def read_h5(file: h5py.File) -> tuple[FeatureRows, pd.DataFrame, pd.DataFrame]:
    """X by rows, obs and var of an open HDF5 file."""
    if "matrix" not in file:
        return _read_old_h5(file)
    group = file["matrix"]
    barcodes, features = group["barcodes"].asstr()[:], group["features"]
    table = pd.DataFrame(
        {
            {"id": "gene_ids", "feature_type": "feature_types"}.get(name, name): item.asstr()[:]
            if h5py.check_string_dtype(item.dtype)
            else item[:]
            for name, item in features.items()
            if item.shape == features["name"].shape and not name.startswith("_")
        }
    ).set_index("name")
    if tuple(group["shape"][:]) != (len(table), len(barcodes)):
        raise ValueError("shape is not that of the features and barcodes")
    kept = (table["feature_types"] == GENES).to_numpy()
    return FeatureRows(group, kept), pd.DataFrame(index=barcodes), table[kept]


def _read_old_h5(file: h5py.File) -> tuple[FeatureRows, pd.DataFrame, pd.DataFrame]:
    """Of Cell Ranger before 3: a group for each genome."""
    if len(file) != 1:
        raise ValueError(f"no group 'matrix', nor one genome, but {', '.join(file) or 'nothing'}")
    (group,) = file.values()
    barcodes = group["barcodes"].asstr()[:]
    table = pd.DataFrame({"gene_ids": group["genes"].asstr()[:]}, group["gene_names"].asstr()[:])
    if tuple(group["shape"][:]) != (len(table), len(barcodes)):
        raise ValueError("shape is not that of the genes and barcodes")
    return FeatureRows(group, np.full(len(table), True)), pd.DataFrame(index=barcodes), table


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
    kept = np.full(len(features), True)
    if "feature_types" in features:
        kept = (features["feature_types"] == GENES).to_numpy()
    rows = _market_rows(matrices[0], (len(features), len(barcodes)), kept)
    return rows, pd.DataFrame(index=barcodes[0].to_numpy()), features[kept]


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


def _market_rows(path: Path, shape: tuple[int, int], kept: np.ndarray) -> RowBands:
    """Cells × kept features of a Matrix Market file of features × cells."""
    with _open(path) as handle:
        *found, n_entries = _read_header(handle)
    if tuple(found) != shape:
        raise ValueError(f"matrix.mtx is {found[0]} × {found[1]}, not {shape[0]} × {shape[1]}")
    position = np.cumsum(kept) - 1
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
                of_gene = kept[feature]
                yield (
                    cell[of_gene],
                    position[feature[of_gene]],
                    block["value"].to_numpy()[of_gene],
                )
        if n_read != n_entries:
            raise ValueError(f"matrix.mtx holds {n_read} entries, not {n_entries}")

    return RowBands(entries, (shape[1], int(kept.sum())), n_entries, np.dtype(np.float32))
