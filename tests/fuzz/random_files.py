"""Random AnnData of every dtype, layout and name that anndata can write, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st
from making import SYMBOLS
from random_matrices import DTYPES, LAYOUTS, STATES, laid_out, reference, stored
from random_names import TABLE, Genes, genes, names
from random_organisms import organisms
from scipy import sparse

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
class Matrix:
    """A matrix of a file, of its genes alone.

    Attributes
    ----------
    values
        As written, float64 (n_obs, n_genes).
    expected
        log10(1 + value of 10,000), the same shape, by scanpy.
    words
        What sentences call the genes; None where that is open.
    """

    values: np.ndarray
    expected: np.ndarray
    words: list[str | None]

    @classmethod
    def of(cls, values: np.ndarray, state: str, found: Genes, is_gene: np.ndarray) -> Matrix:
        values = values[:, is_gene].astype(np.float64)
        words = [word for word, kept in zip(found.words, is_gene, strict=False) if kept]
        return cls(values, reference(values, state), words)


@dataclass
class Truth:
    """A file's content and what QC should make of it.

    Attributes
    ----------
    matrices
        Those that hold something of use, by what ``--matrix`` calls them.
    organisms
        Of each cell; None where that is open.
    tables
        Content of the files beside it, by name.
    refused
        Why VALIDATE has to refuse the file; empty if it does not have to.
    """

    data: ad.AnnData
    matrices: dict[str, Matrix]
    params: dict
    organisms: list[str] | None = None
    tables: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


@st.composite
def random_files(draw) -> Truth:
    """Draw what a file is; its numbers follow from a seed."""
    n_obs, n_vars = draw(st.integers(1, 24)), draw(st.integers(1, len(SYMBOLS)))
    random = np.random.default_rng(draw(st.integers(0, 2**20)))
    found = draw(genes(n_vars))
    var, is_gene = found.var, np.full(n_vars, True)
    if draw(st.integers(0, 5)) == 0 and n_vars > 2:
        is_gene[-2:] = False
        var["feature_types"] = np.where(is_gene, "Gene Expression", "Antibody Capture")
    counts = random.poisson(random.gamma(0.5, draw(st.sampled_from([1, 3, 30])), (n_obs, n_vars)))
    obs = pd.DataFrame(index=draw(names(n_obs, "cell")))
    truth = draw(_with_matrices(np.minimum(counts, 250), obs, found, is_gene, random))
    data = truth.data
    _add_columns(data, found, draw, random)
    _add_others(data, draw, random)
    species = draw(organisms(data, found.species))
    truth.organisms = species.of_cells
    truth.params |= found.params | species.params
    truth.refused = [why for why in (*truth.refused, found.refused, species.refused) if why]
    if found.table:
        truth.tables[TABLE] = found.table
    return truth


@st.composite
def _with_matrices(draw, counts, obs, found: Genes, is_gene, random) -> Truth:
    """Where the values are: in X, in raw.X beside a scaled or log-normalised X, or in a layer."""
    place = draw(st.sampled_from(["X", "X", "X", "raw.X", "layers/counts", "layers/spliced"]))
    state, dtype = draw(st.sampled_from(STATES)), draw(st.sampled_from(DTYPES))
    if place.startswith("layers") and state.startswith("log"):
        state = "counts"  # no file says the base of a layer's log
    dtype = dtype if state == "counts" or "f" in dtype else "f4"
    values = stored(counts, state, draw(st.sampled_from([1e4, 1e6, 512.5]))).astype(dtype)
    main = laid_out(values, draw(st.sampled_from(LAYOUTS)), random)
    matrices = {place: Matrix.of(values, state, found, is_gene)}
    n_x, x = len(is_gene), main
    if place != "X":
        other = draw(st.sampled_from(["scaled", "scaled", "log e", "none"]))
        other = "scaled" if state.startswith("log") else other
        if place == "raw.X":  # X of the variable genes, and none of the antibodies
            n_x = draw(st.integers(1, n_x))
        if other != "none":
            x = stored(counts, other)[:, :n_x].astype("f4")
            if other == "log e":
                matrices["X"] = Matrix.of(x, other, found, is_gene[:n_x])
    has_x = place == "X" or other != "none"
    data = ad.AnnData(x if has_x else None, obs=obs, var=found.var[:n_x].copy())
    if place == "raw.X":
        data.raw = ad.AnnData(main, obs=obs, var=found.var)
    elif place != "X":
        data.layers[place.removeprefix("layers/")] = main
    elif draw(st.integers(0, 4)) == 0:
        data.raw = data.copy()
        matrices["raw.X"] = matrices["X"]
    truth = Truth(data, matrices, {})
    asked = draw(st.sampled_from([*["unset"] * 6, *["it"] * 9, "none such"]))
    if asked == "none such":
        truth.params["matrix"] = "layers/none such"
        truth.refused.append("no such matrix")
    elif asked != "unset":
        truth.params["matrix"] = place
    if draw(st.booleans()) and (place == "X" or truth.params.get("matrix") == place):
        name, _, base = state.partition(" ")
        truth.params["input_state"] = "lognormalized" if name == "log" else name
        if base:  # without, a base that the values do not show is taken to be e
            data.uns["log1p"] = {} if base == "e" else {"base": float(base)}
    return truth


def _add_columns(data: ad.AnnData, found: Genes, draw: st.DrawFn, random: object) -> None:
    """Columns of every kind, but no other symbols than those that are drawn."""
    for frame in (data.obs, data.var):
        for name in draw(st.lists(st.sampled_from(COLUMN_NAMES), max_size=4, unique=True)):
            kind = draw(st.sampled_from(sorted(COLUMNS)))
            if frame is data.var and found.species and name == "name" and kind == "unique":
                continue
            frame[name] = COLUMNS[kind](len(frame), random)


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
            if name not in target:
                target[name] = choice[name]
    if draw(st.integers(0, 4)) == 0:
        data.varm["PCs"] = random.random((m, 2))
        data.obsp["distances"] = sparse.random(n, n, 0.5, "csr")
