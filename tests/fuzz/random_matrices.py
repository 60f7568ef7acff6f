"""Matrices of every dtype and layout that anndata can write, and what scanpy makes of them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scanpy as sc
from scipy import sparse

DTYPES = ["f4", "f8", "i4", "i8", "u1", "u2", "u8", "i2", "f2", "?", ">f4", ">i4"]
STATES = ["counts", "counts", "normalized", "log e", "log 2", "log 10"]


def stored(counts: np.ndarray, state: str, total: float = 1e4) -> np.ndarray:
    """Counts as an analysis leaves them in this state."""
    if state == "counts":
        return counts
    data = ad.AnnData(counts.astype(np.float64))
    if state == "scaled":
        sc.pp.log1p(data)
        return data.X - data.X.mean(axis=0) - 0.01
    sc.pp.normalize_total(data, target_sum=total)
    if state.startswith("log"):
        sc.pp.log1p(data, base={"e": None, "2": 2, "10": 10}[state.split()[1]])
    return data.X


def reference(values: np.ndarray, state: str) -> np.ndarray:
    """What scanpy makes of values in this state: log10(1 + value of 10,000)."""
    data = ad.AnnData(values.copy())
    if state == "counts":
        sc.pp.normalize_total(data, target_sum=1e4)
    if state.startswith("log"):
        base = {"e": np.e, "2": 2, "10": 10}[state.split()[1]]
        return values * np.log10(base)
    sc.pp.log1p(data, base=10)
    return data.X


def _unsorted(matrix: np.ndarray, random: np.random.Generator) -> sparse.csr_matrix:
    made = sparse.csr_matrix(matrix)
    for start, stop in zip(made.indptr[:-1], made.indptr[1:], strict=True):
        order = random.permutation(np.arange(start, stop))
        made.indices[start:stop], made.data[start:stop] = made.indices[order], made.data[order]
    made.has_sorted_indices = False
    return made


def _long(matrix: np.ndarray, _: object) -> sparse.csr_matrix:
    made = sparse.csr_matrix(matrix)
    made.indices, made.indptr = made.indices.astype(np.int64), made.indptr.astype(np.int64)
    return made


def _zeros(matrix: np.ndarray, _: object) -> sparse.csr_matrix:
    made = sparse.csr_matrix(np.ones_like(matrix))
    made.data = matrix.ravel().copy()
    return made


LAYOUTS = ["dense", "fortran", "csr", "csc", "array", "unsorted", "int64", "zeros"]


def laid_out(matrix: np.ndarray, layout: str, random: np.random.Generator) -> object:
    """The matrix in a layout of `LAYOUTS`, where numpy or scipy has it for this dtype."""
    if layout == "fortran":
        return np.asfortranarray(matrix)
    if layout == "dense" or matrix.dtype == np.float16 or matrix.dtype.byteorder == ">":
        return matrix  # no sparse matrix holds these
    if layout in ("unsorted", "int64", "zeros"):
        return {"unsorted": _unsorted, "int64": _long, "zeros": _zeros}[layout](matrix, random)
    make = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "array": sparse.csr_array}
    return make[layout](matrix)
