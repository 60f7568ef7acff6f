"""Small inputs for the tests of the data side: real formats, known values."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.io
from scipy import sparse

SYMBOLS = [f"GENE{n}" for n in range(30)] + ["MT-CO1", "MT-ND1", "ACTB", "B2M"]


def counts(n_cells: int = 40, n_genes: int = len(SYMBOLS), seed: int = 0) -> sparse.csr_matrix:
    """Counts with about half zeros; no row or column is empty."""
    random = np.random.default_rng(seed)
    dense = random.poisson(random.gamma(0.7, 2, (n_cells, n_genes)))
    dense[np.arange(n_cells), np.arange(n_cells) % n_genes] += 1
    return sparse.csr_matrix(dense, dtype=np.float32)


def cells(n_cells: int = 40, seed: int = 0) -> ad.AnnData:
    """Counts of human genes with annotation of every kind."""
    random = np.random.default_rng(seed)
    data = ad.AnnData(
        counts(n_cells, seed=seed),
        obs=pd.DataFrame(
            {
                "type": pd.Categorical(random.choice(["B", "T"], n_cells)),
                "cell type": [f"t{n % 3}" for n in range(n_cells)],
                "condition": ["control", "IFN"] * (n_cells // 2),
                "score": random.random(n_cells),
            },
            index=[f"cell{n}" for n in range(n_cells)],
        ),
        var=pd.DataFrame({"chromosome": "1"}, index=SYMBOLS),
    )
    data.obsm["X_pca"] = random.random((n_cells, 3))
    data.layers["spliced"] = data.X * 0.5
    return data


def write_input(data: ad.AnnData, kind: str, folder: Path) -> Path:
    """Write `data` in one of the input formats; give the path."""
    path = folder / f"data.{kind.split('-')[-1]}"
    if kind in WRITERS:
        WRITERS[kind](data, path)
        return path
    as_kind = {
        "csr": sparse.csr_matrix,
        "csc": sparse.csc_matrix,
        "array": sparse.csr_array,
        "dense": lambda matrix: matrix.toarray(),
        "int": lambda matrix: matrix.astype(np.int64),
        "half": lambda matrix: matrix.toarray().astype(np.float16),
    }[kind.split("-")[0]]
    made = ad.AnnData(as_kind(data.X), obs=data.obs, var=data.var)
    made.write_zarr(path) if path.suffix == ".zarr" else made.write_h5ad(path)
    return path


def _write_10x_h5(data: ad.AnnData, path: Path) -> None:
    n = data.n_vars
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = data.obs_names.to_numpy(dtype="S")
        for name in ("data", "indices", "indptr"):
            values = getattr(data.X, name)
            group[name] = values.astype(np.int32 if name == "data" else np.int64)
        group["shape"] = np.array(data.shape[::-1])
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{n:011}" for n in range(n)], dtype="S")
        features["name"] = data.var_names.to_numpy(dtype="S")
        features["feature_type"] = np.array(["Gene Expression"] * n, dtype="S")
        features["genome"] = np.array(["GRCh38"] * n, dtype="S")


def _write_10x_directory(data: ad.AnnData, path: Path) -> None:
    path.mkdir()
    features = [f"ENSG{n:011}\t{name}\tGene Expression" for n, name in enumerate(data.var_names)]
    lines = {"barcodes.tsv.gz": data.obs_names, "features.tsv.gz": features}
    for name, content in lines.items():
        with gzip.open(path / f"GSM1_{name}", "wt") as handle:
            handle.write("\n".join(content) + "\n")
    with gzip.open(path / "GSM1_matrix.mtx.gz", "wb") as handle:
        scipy.io.mmwrite(handle, data.X.T.astype(np.int32).tocoo())


def _write_loom(data: ad.AnnData, path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["matrix"] = data.X.T.toarray()
        file["col_attrs/CellID"] = data.obs_names.to_numpy(dtype="S")
        file["row_attrs/Gene"] = data.var_names.to_numpy(dtype="S")


def _write_text(data: ad.AnnData, path: Path) -> None:
    separator = "," if "csv" in path.name else "\t"
    data.to_df().astype(int).to_csv(path, sep=separator)


WRITERS = {
    "10x-h5": _write_10x_h5,
    "10x-directory": _write_10x_directory,
    "loom": _write_loom,
    "csv": _write_text,
    "tsv.gz": _write_text,
}
