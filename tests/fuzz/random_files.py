"""Random AnnData of every dtype, layout and name that anndata can write, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from hypothesis import strategies as st
from making import SYMBOLS
from scipy import sparse

DTYPES = ["f4", "f8", "i4", "i8", "u1", "u2", "u8", "i2", "f2", "?", ">f4", ">i4"]
STATES = ["counts", "counts", "normalized", "log e", "log 2", "log 10"]
ODD = ["1", "001", "1e5", "NA", "nan", "None", "True", "é 細胞", "A B", "a\tb", "x" * 300, "-",
       "1-Mar", "a/b", "a,b", "'\"", " lead", "_index", "..", "a-1", "A-1", "a"]  # fmt: skip
COLUMNS = {
    "text": lambda n, random: random.choice(["a", "b", "NA", ""], n).astype(object),
    "unique": lambda n, _: np.array([f"u{i}" for i in range(n)], dtype=object),
    "category": lambda n, random: pd.Categorical(random.choice(["a", "b"], n), ["b", "z", "a"]),
    "gaps": lambda n, random: pd.Categorical([None, *random.choice(["a", "b"], n)][:n]),
    "empty": lambda n, _: pd.Categorical([None] * n),
    "numbers": lambda n, random: pd.Categorical(random.integers(0, 3, n), ordered=True),
    "flags": lambda n, random: pd.Categorical(random.random(n) < 0.5),
    "Int64": lambda n, _: pd.array([None, *range(n)][:n], "Int64"),
    "UInt8": lambda n, _: pd.array([None, *(i % 9 for i in range(n))][:n], "UInt8"),
    "boolean": lambda n, random: pd.array([None, *(random.random(n) < 0.5)][:n], "boolean"),
    "half": lambda n, random: random.random(n).astype("f2"),
    "big-endian": lambda n, random: random.random(n).astype(">f8"),
    "complex": lambda n, random: random.random(n) * 1j,
    "infinite": lambda n, _: np.full(n, np.inf),
    "NaN": lambda n, _: np.full(n, np.nan),
}  # fmt: skip
COLUMN_NAMES = ["x", "n_genes", "cell_id", "shard", "cell_sentence", "n_genes_by_counts",
                "total_counts", "sample", "index", "c2s_n_genes", "input_id", "é 細胞", "a b",
                "class", "1", "level_0", "name", "__categories", "mt", "c2s_split",
                "input_sample"]  # fmt: skip


@dataclass
class Truth:
    """A file's content and what QC should make of it.

    Attributes
    ----------
    values
        The genes' values as written, float64 (n_obs, n_genes).
    expected
        log10(1 + value of 10,000), the same shape, by scanpy.
    """

    data: ad.AnnData
    values: np.ndarray
    expected: np.ndarray
    params: dict


@st.composite
def random_files(draw) -> Truth:
    """Draw what a file is; its numbers follow from a seed."""
    n_obs, n_vars = draw(st.integers(1, 24)), draw(st.integers(1, len(SYMBOLS)))
    random = np.random.default_rng(draw(st.integers(0, 2**20)))
    state, dtype = draw(st.sampled_from(STATES)), draw(st.sampled_from(DTYPES))
    dtype = dtype if state == "counts" or "f" in dtype else "f4"
    counts = random.poisson(random.gamma(0.5, draw(st.sampled_from([1, 3, 30])), (n_obs, n_vars)))
    var = pd.DataFrame(index=draw(var_names(n_vars)))
    is_gene = np.full(n_vars, True)
    if draw(st.integers(0, 5)) == 0 and n_vars > 2:
        is_gene[-2:] = False
        var["feature_types"] = np.where(is_gene, "Gene Expression", "Antibody Capture")
    stored = _stored(np.minimum(counts, 250), state, draw(st.sampled_from([1e4, 1e6, 512.5])))
    stored = stored.astype(dtype)
    values = stored[:, is_gene].astype(np.float64)
    data = ad.AnnData(
        _layout(stored, draw(st.sampled_from(LAYOUTS)), random),
        obs=pd.DataFrame(index=draw(names(n_obs, "cell"))), var=var,
    )  # fmt: skip
    for frame in (data.obs, data.var):
        for name in draw(st.lists(st.sampled_from(COLUMN_NAMES), max_size=4, unique=True)):
            kind = draw(st.sampled_from(sorted(COLUMNS)))
            frame[name] = COLUMNS[kind](len(frame), random)
    _add_others(data, draw, random)
    params = {"organism": "human", "matrix": "X"}
    if draw(st.booleans()):
        name, _, base = state.partition(" ")
        params["input_state"] = "lognormalized" if name == "log" else name
        if base:  # without, a base that the values do not show is taken to be e
            data.uns["log1p"] = {} if base == "e" else {"base": float(base)}
    return Truth(data, values, reference(values, state), params)


def _stored(counts: np.ndarray, state: str, total: float) -> np.ndarray:
    if state == "counts":
        return counts
    data = ad.AnnData(counts.astype(np.float64))
    sc.pp.normalize_total(data, target_sum=total)
    if state.startswith("log"):
        sc.pp.log1p(data, base={"e": None, "2": 2, "10": 10}[state.split()[1]])
    return data.X


def reference(values: np.ndarray, state: str) -> np.ndarray:
    """What scanpy makes of values in this state."""
    data = ad.AnnData(values.copy())
    if state == "counts":
        sc.pp.normalize_total(data, target_sum=1e4)
    if state.startswith("log"):
        base = {"e": np.e, "2": 2, "10": 10}[state.split()[1]]
        return values * np.log10(base)
    sc.pp.log1p(data, base=10)
    return data.X


@st.composite
def names(draw, n: int, stem: str) -> list[str]:
    """Names of rows: plain, or some of them odd or repeated."""
    made = [f"{stem}{i}" for i in range(n)]
    for i in range(n):
        if draw(st.integers(0, 9)) == 0:
            made[i] = draw(st.one_of(st.sampled_from(ODD), st.just(made[0]), st.just("")))
    return made


@st.composite
def var_names(draw, n: int) -> list[str]:
    """Names of genes: symbols, some of them odd."""
    made = SYMBOLS[:n]
    for i in range(n):
        if draw(st.integers(0, 19)) == 0:
            made[i] = draw(st.sampled_from([*ODD, made[0], ""]))
    return made


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


def _layout(matrix: np.ndarray, layout: str, random: np.random.Generator) -> object:
    if layout == "fortran":
        return np.asfortranarray(matrix)
    if layout == "dense" or matrix.dtype == np.float16 or matrix.dtype.byteorder == ">":
        return matrix  # no sparse matrix holds these
    if layout in ("unsorted", "int64", "zeros"):
        return {"unsorted": _unsorted, "int64": _long, "zeros": _zeros}[layout](matrix, random)
    make = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "array": sparse.csr_array}
    return make[layout](matrix)


def _add_others(data: ad.AnnData, draw: st.DrawFn, random: np.random.Generator) -> None:
    """Layers, raw, obsm, varm, obsp and nested uns of many kinds."""
    n, m = data.shape
    numbers = random.random((n, m))
    layers = {"counts": numbers, "spliced": sparse.csc_matrix(numbers), "é": numbers.astype("f2"),
              "flags": numbers < 0.5, "NaN": np.full((n, m), np.nan)}  # fmt: skip
    obsm = {
        "X_pca": random.random((n, 2)), "half": random.random((n, 2)).astype("f2"),
        "X_c2s": random.random((n, 3)), "sparse": sparse.random(n, 4, 0.5, "csr"),
        "csc": sparse.random(n, 4, 0.5, "csc"), "none": np.empty((n, 0)),
        "words": np.full((n, 2), "w", dtype=object), "cube": random.random((n, 2, 2)),
        "complex": random.random((n, 2)) * 1j, "flags": random.random((n, 2)) < 0.5,
        "table": pd.DataFrame({"a": ["x"] * n, "_b": pd.array([None] * n, "Int64")},
                              index=data.obs_names),
    }  # fmt: skip
    uns = {"organism": np.array(["a", "b"]), "nested": {"a": {"b": [1, 2]}, "é": None},
           "species": 3, "table": pd.DataFrame({"a": [1]}, index=["i"])}  # fmt: skip
    for target, choice in ((data.layers, layers), (data.obsm, obsm), (data.uns, uns)):
        for name in draw(st.lists(st.sampled_from(sorted(choice)), max_size=2, unique=True)):
            target[name] = choice[name]
    if draw(st.integers(0, 4)) == 0:
        data.raw = data.copy()
    if draw(st.integers(0, 4)) == 0:
        data.varm["PCs"] = random.random((m, 2))
        data.obsp["distances"] = sparse.random(n, n, 0.5, "csr")
