"""Opens AnnData files, matrices and tables of any format, and checks them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem, read_h5ad

from c2sflow.common.errors import UserError
from c2sflow.common.files import foreign, hdf5_fault, reason_of
from c2sflow.data.backed import CellData
from c2sflow.data.named_arrays import items_of
from c2sflow.data.stored import StoredGroup
from c2sflow.data.tenx import read_directory, read_h5
from c2sflow.data.text_tables import SUFFIXES, read_table

Opener = Callable[[Path, str], CellData]
FORMATS = ".h5ad, .zarr, 10x .h5, a 10x matrix directory, .loom, or .csv/.tsv/.txt[.gz]"
# What to do with files that people have instead.
HINTS = {
    (".xlsx", ".xls", ".ods"): "; save the sheet as CSV",
    (".bz2", ".xz", ".zip", ".zst", ".tar", ".tar.gz", ".tgz"): "; unpack it",
    (".rds", ".rda", ".rdata", ".h5seurat"): "; write it from R as .h5ad",
    (".mtx", ".mtx.gz"): "; name the folder that holds it with its barcodes and features",
}
HDF5_KINDS = ("h5ad", "10x HDF5", "loom")
REMEDY = "is it damaged? Copy or download it again"
REMEDIES = {
    "h5ad": "read it with anndata and write it again, or copy or download it again",
    "zarr": "write it again with adata.write_zarr, or copy it again",
}
ENSEMBL = r"^ENS[A-Z]{0,6}G\d{6,}(?:\.\d+)?(?:_PAR_Y)?$"


class _Transposed:
    """The matrix of a loom file, which is genes × cells."""

    def __init__(self, matrix: h5py.Dataset):
        self._matrix = matrix

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._matrix[:, rows].T


def open_anndata(source: str | Path | AnnData, label: str | None = None) -> CellData:
    """Open a file in any of the input formats; use it in a ``with`` block.

    Parameters
    ----------
    source
        Path of the file, folder or store, or an AnnData in memory.
    label
        What messages call it; None for its path.

    Raises
    ------
    UserError
        If the format is not known or the content cannot be read.
    """
    if isinstance(source, AnnData):
        return _in_memory(source, label or "AnnData")
    path = Path(source)
    label = label or str(path)
    opener, kind = _opener(path, label)
    if fault := _fault(path, kind):
        raise UserError(f"{label}: cannot be read as {kind}: {fault}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that are not unique: handled and reported here
            return opener(path, label)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # anything a damaged file can cause in any of the readers
        remedy = REMEDIES.get(kind, REMEDY)
        raise UserError(
            f"{label}: cannot be read as {kind}: {reason_of(error)}; {remedy}"
        ) from None


def _fault(path: Path, kind: str) -> str | None:
    """What is wrong with the file as a whole."""
    if path.is_dir():
        return None
    if kind in HDF5_KINDS:
        return hdf5_fault(path)
    what = foreign(path)
    if what is None or (path.suffix.lower() == ".gz" and "gzip" in what):
        return None
    return f"it is {what}"


def _opener(path: Path, label: str) -> tuple[Opener, str]:
    """Function that opens a file of this name, and what to call its format."""
    if not path.exists():
        raise UserError(f"{label}: no such file")
    name = path.name.lower()
    if name.endswith(".h5mu") or (path.is_dir() and (path / "mod").is_dir()):
        raise UserError(
            f"{label}: a MuData file of several modalities; give that of the genes alone: "
            "mudata.read('x.h5mu')['rna'].write_h5ad('rna.h5ad')"
        )
    if path.is_dir():
        is_zarr = any((path / mark).exists() for mark in ("zarr.json", ".zgroup", ".zattrs"))
        if is_zarr or name.endswith(".zarr"):
            return _open_zarr, "zarr"
        return _open_10x_directory, "a 10x matrix directory"
    openers = {
        ".h5ad": (_open_h5ad, "h5ad"),
        ".h5": (_open_10x_h5, "10x HDF5"),
        ".loom": (_open_loom, "loom"),
    } | dict.fromkeys(SUFFIXES, (_open_text, "samples × genes"))
    for suffix, opener in openers.items():
        if name.endswith(suffix):
            return opener
    hint = next((hint for ending, hint in HINTS.items() if name.endswith(ending)), "")
    if not hint and path.is_file() and (what := foreign(path)):
        hint = f" (this is {what})"
    raise UserError(f"{label}: unknown format; give {FORMATS}{hint}")


def _open_group(group: StoredGroup, label: str) -> CellData:
    others = "raw" in group or len(group.get("layers", ()))
    for name, mark in (("loom", "col_attrs"), ("h5", "matrix")):
        if mark in group and "X" not in group:
            raise UserError(f"{label}: no h5ad file but one of the format .{name}; name it so")
    if "obs" not in group or ("X" not in group and not others):
        raise UserError(f"{label}: no X; write the file with anndata's write_h5ad or write_zarr")
    if "X" in group and group["X"].attrs.get("encoding-type") == "null" and not others:
        raise UserError(f"{label}: X is empty; put the values of a layer into adata.X")
    obs, var = read_elem(group["obs"]), read_elem(group["var"])
    if fault := matrix_fault(group, len(obs), len(var)):
        raise UserError(
            f"{label}: cannot be read: {fault}; write the file again with anndata, or copy it again"
        )
    return CellData(group, obs, var, label)


@contextmanager
def _open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open for reading; left open unless the block fails."""
    file = h5py.File(path, "r")
    try:
        yield file
    except BaseException:
        file.close()
        raise


def _open_h5ad(path: Path, label: str) -> CellData:
    with _open_hdf5(path) as file:
        if "obs" in file and file["obs"].attrs.get("encoding-type") != "dataframe":
            file.close()
            return _in_memory(read_h5ad(path), label)
        return _open_group(file, label)


def _open_zarr(path: Path, label: str) -> CellData:
    import zarr

    return _open_group(zarr.open_group(path, mode="r"), label)


def _open_10x_h5(path: Path, label: str) -> CellData:
    with _open_hdf5(path) as file:
        matrix, obs, var = read_h5(file)
        return CellData(_OnlyX(matrix, file), obs, var, label)


def _open_10x_directory(path: Path, label: str) -> CellData:
    matrix, obs, var = read_directory(path, label)
    return CellData(_OnlyX(matrix), obs, var, label)


def _open_loom(path: Path, label: str) -> CellData:
    with _open_hdf5(path) as file:
        obs = _loom_annotation(file["col_attrs"], ("CellID", "obs_names", "Barcode"))
        var = _loom_annotation(file["row_attrs"], ("Gene", "var_names", "Accession"))
        if file["matrix"].shape != (len(var), len(obs)):
            raise UserError(f"{label}: the matrix is not genes × cells, as its attributes claim")
        return CellData(_OnlyX(_Transposed(file["matrix"]), file), obs, var, label)


def _loom_annotation(attributes: h5py.Group, index: tuple[str, ...]) -> pd.DataFrame:
    """Columns of a loom file, by the first of `index` that it has."""
    columns = {
        key: values.asstr()[:] if h5py.check_string_dtype(values.dtype) else values[:]
        for key, values in attributes.items()
        if values.ndim == 1
    }
    frame = pd.DataFrame(columns)
    name = next((name for name in index if name in frame), None)
    return frame if name is None else frame.set_index(name)


class _OnlyX(dict):
    """The elements of a format that holds a matrix and nothing else by cell, and its open file."""

    def __init__(self, matrix: Any, file: h5py.File | None = None):
        super().__init__(X=matrix)
        self.file = file


def _open_text(path: Path, label: str) -> CellData:
    table = read_table(path, label)
    obs, var = pd.DataFrame(index=table.samples), pd.DataFrame(index=table.genes)
    data = _in_memory(AnnData(table.matrix, obs=obs, var=var), label)
    data.notes += table.notes
    return data


def _in_memory(data: AnnData, label: str) -> CellData:
    return CellData(data, data.obs, data.var, label)


SPARSE = {"csr_matrix": 0, "csc_matrix": 1}  # encoding to the axis of its row pointers


def matrix_fault(group: StoredGroup, n_obs: int, n_vars: int) -> str | None:
    """What is wrong with X, the layers or raw, by their metadata; no value is read.

    Parameters
    ----------
    group
        The open file or store.
    n_obs, n_vars
        Lengths of obs and var.
    """
    for name, matrix, width in _matrices(group, n_vars):
        kind = matrix.attrs.get("encoding-type", "array")
        if kind == "null":
            continue
        if kind not in ("array", *SPARSE):
            return f"{name} is stored as {kind!r}, which is no matrix"
        fault = _sparse_fault(matrix, SPARSE[kind]) if kind in SPARSE else None
        if fault:
            return f"{name} {fault}"
        shape = tuple(matrix.attrs["shape"] if kind in SPARSE else matrix.shape)
        if shape != (n_obs, width if width is not None else shape[-1]):
            found = " × ".join(map(str, shape))
            return f"{name} is {found}, but obs and var are {n_obs} × {width or '…'}"
    return None


def _matrices(group: StoredGroup, n_vars: int) -> Iterator[tuple[str, Any, int | None]]:
    """Name, matrix and how many columns it must have."""
    if "X" in group:
        yield "X", group["X"], n_vars
    for name, layer in items_of(group.get("layers", {})):
        if layer.attrs.get("encoding-type", "array") in ("array", *SPARSE):  # others are left out
            yield f"layers[{name!r}]", layer, n_vars
    if "raw" in group and "X" in group["raw"]:
        yield "raw.X", group["raw"]["X"], None


def _sparse_fault(matrix: StoredGroup, axis: int) -> str | None:
    missing = [name for name in ("data", "indices", "indptr") if name not in matrix]
    if missing or "shape" not in matrix.attrs:
        return f"lacks its {(missing or ['shape'])[0]}"
    if len(matrix["data"].shape) != 1 or matrix["data"].shape != matrix["indices"].shape:
        return "has not as many values as indices"
    if matrix["indptr"].shape != (int(matrix.attrs["shape"][axis]) + 1,):
        return "has row pointers that do not fit its shape"
    return None
