"""docs/seurat.R: a result becomes a Seurat object, where R and its packages are installed."""

import shutil
import subprocess

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from families import ROOT

SHOW = """
suppressPackageStartupMessages(library(SeuratObject))
o <- readRDS("new.rds")
write.csv(as.matrix(GetAssayData(o, "data")), "data.csv")
write.csv(as.matrix(GetAssayData(o, "counts")), "counts.csv")
write.csv(o@meta.data, "obs.csv")
for (name in names(o@reductions)) write.csv(Embeddings(o, name), paste0(name, ".csv"))
"""


def run_r(folder, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["Rscript", *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seurat")
    if not shutil.which("Rscript"):
        pytest.skip("no Rscript on PATH: docs/seurat.R did not run")
    if run_r(folder, "-e", "library(SeuratObject); library(rhdf5)").returncode:
        pytest.skip("R lacks SeuratObject or rhdf5: docs/seurat.R did not run")
    return folder


@pytest.fixture
def adata() -> ad.AnnData:
    random = np.random.default_rng(1)
    counts = sp.random(6, 4, density=0.6, random_state=1, format="csr", dtype=np.float32)
    counts.data = np.ceil(counts.data * 9)
    adata = ad.AnnData(
        counts.copy(),
        obs=pd.DataFrame(
            {
                "cell type": pd.Categorical(["B", "T", None, "B", "T", "T"], ["T", "B", "NK"]),
                "n": [1, 2, 3, 4, 5, 6],
                "score": [0.5, np.nan, 1, 2, 3, 4],
                "age": pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
                "kept": [True, False, True, True, False, True],
                "note": ["é", "b, c", 'd"e', "", "TRUE", "g"],
            },
            index=[f"cell-{i}" for i in range(6)],
        ),
        var=pd.DataFrame(index=["CD3D", "MS4A1", "HLA-A", "7SK"]),
        obsm={"X_c2s": random.normal(size=(6, 3)), "X_c2s_umap": random.normal(size=(6, 2))},
        layers={"counts": counts},
        uns={"log1p": {"base": 10.0}},
    )
    adata.X.data = np.log10(1 + adata.X.data)
    return adata


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_all_that_a_result_holds_is_in_the_object(form, folder, adata):
    adata.X = {"csr": adata.X, "csc": adata.X.tocsc(), "dense": adata.X.toarray()}[form]
    adata.write_h5ad(folder / "it's one.h5ad")
    done = run_r(folder, ROOT / "docs/seurat.R", "it's one.h5ad", "new.rds")
    assert done.returncode == 0, done.stderr
    assert "6 cells, 4 genes, reductions: c2s, c2sumap" in done.stdout
    assert not list(folder.glob("*.part"))
    shown = run_r(folder, "-e", SHOW)
    assert shown.returncode == 0, shown.stderr

    data = pd.read_csv(folder / "data.csv", index_col=0).T
    expected = adata.to_df()
    assert list(data.columns) == list(adata.var_names)
    np.testing.assert_allclose(data, expected * np.log(10), rtol=1e-6)
    np.testing.assert_array_equal(
        pd.read_csv(folder / "counts.csv", index_col=0).T, adata.layers["counts"].toarray()
    )
    np.testing.assert_allclose(pd.read_csv(folder / "c2s.csv", index_col=0), adata.obsm["X_c2s"])

    obs = pd.read_csv(folder / "obs.csv", index_col=0, keep_default_na=False, na_values=["NA"])
    assert list(obs.index) == list(adata.obs_names)
    assert list(obs.columns) == list(adata.obs.columns)
    for name in adata.obs.columns:
        ours, theirs = adata.obs[name].astype(object), obs[name].astype(object)
        assert list(ours.isna()) == list(theirs.isna()), name
        assert list(ours.dropna()) == list(theirs.dropna()), name


def test_a_file_that_is_not_there(folder):
    done = run_r(folder, ROOT / "docs/seurat.R", "nowhere.h5ad", "x.rds")
    assert done.returncode != 0
    assert "nowhere.h5ad: no such file" in done.stderr
    assert not (folder / "x.rds").exists()
