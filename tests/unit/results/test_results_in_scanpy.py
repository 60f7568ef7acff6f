"""What users do next with each result: scanpy, slices with copies, concat, writing again."""

import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from making import SYMBOLS, cells
from scipy import sparse

from c2sflow.common.threads import compiled_once
from c2sflow.data.bulk.pseudobulk import run_pseudobulk
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.state.normalization import State
from c2sflow.generation.tasks import write_answers
from c2sflow.results.generated import merge_generated
from c2sflow.results.merge import merge_samples
from c2sflow.results.predictions import Predicted, merge_predictions
from c2sflow.results.shards import Sample

with compiled_once():
    import umap  # noqa: F401 (for scanpy)

FIT = {"slope": -0.5, "intercept": 2.0}
KINDS = ("qc", "one", "several", "pseudobulk", "perturbed", "generated")
WITH_COUNTS = ("qc", "one", "several", "pseudobulk")


def sample_of(folder, name, seed):
    """One sample as QC and EMBED leave it; its input has layers by rows, by columns and dense."""
    data = cells(60, seed=seed)
    data.obs_names = [f"{name}_{cell}" for cell in data.obs_names]
    data.layers["columns"] = data.X.tocsc()
    data.layers["dense"] = data.X.toarray()
    data.obsm["sparse"] = sparse.random(60, 5, 0.5, "csr", np.float32, rng=seed)
    path = folder / f"{name}.h5ad"
    run_qc(data, path, sample=name, organism="human", state=State("counts"), filters=Filters(5, 1))
    names = ad.read_h5ad(path, backed="r").obs_names
    vectors = np.random.default_rng(seed).normal(size=(len(names), 8)).astype(np.float32)
    shard = ad.AnnData(obs=pd.DataFrame({"c2s_n_genes": 3}, index=names), obsm={"X_c2s": vectors})
    shard.write_h5ad(folder / f"{name}.0.embedding.h5ad")
    return Sample(name, name, path, [folder / f"{name}.0.embedding.h5ad"])


def answers_of(folder):
    """Predicted and generated cells, 60 of each."""
    random, words = np.random.default_rng(0), np.array(SYMBOLS)
    texts = [" ".join(random.permutation(words)[: random.integers(15, 34)]) for _ in range(60)]
    shared = {
        "organism": "human", "c2s_n_predicted_genes": [len(t.split()) for t in texts],
        "c2s_invalid_genes": 0, "c2s_duplicate_genes": 0, "c2s_finish_reason": "eos",
        "c2s_log_likelihood": -1.0, "c2s_truncated": False, "c2s_sentence": texts,
    }  # fmt: skip
    vectors = random.normal(size=(60, 8)).astype(np.float32)
    var, columns = pd.DataFrame(index=words), {word: n for n, word in enumerate(words)}
    more = {
        "source_cell": [f"cell{n // 2}" for n in range(60)],
        "condition": ["IFN", "KO"] * 30, "perturbation": ["IFN", "KO"] * 30,
        "sample": "s", "sample_index": 0,
    }  # fmt: skip
    path = folder / "0.perturbed.parquet"
    write_answers(path, pd.DataFrame(more | shared), vectors)
    names = pd.Index([f"cell{n}" for n in range(30)])
    controls = pd.DataFrame({"sample": "s", "condition": ["control", "IFN"] * 15}, index=names)
    shards = [Predicted(path, 60, columns, names)]
    merge_predictions(shards, controls, var, FIT, folder / "perturbed.h5ad", {})
    more = {"c2s_cell_type": ["B", "T"] * 30, "number": np.arange(60) // 2}
    path = folder / "0.generated.parquet"
    write_answers(path, pd.DataFrame(more | shared), vectors)
    target = folder / "generated.h5ad"
    merge_generated([(path, 60)], {"human": columns}, var, FIT, target, {})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Path of each kind of result."""
    folder = tmp_path_factory.mktemp("results")
    a, b = sample_of(folder, "a", 1), sample_of(folder, "b", 2)
    merge_samples([a], folder / "one.h5ad", {}, store_umap=True)
    merge_samples([a, b], folder / "several.h5ad", {}, store_umap=True)
    run_pseudobulk(a.path, folder / "pseudobulk.h5ad", ["cell type", "condition"])
    answers_of(folder)
    return {kind: folder / f"{'a' if kind == 'qc' else kind}.h5ad" for kind in KINDS}


@pytest.fixture(params=KINDS)
def path(request, results):
    """Of each result in turn."""
    return results[request.param]


def sparse_groups(file):
    """Every sparse matrix of an h5ad file."""
    found = {}

    def add(name, item):
        if item.attrs.get("encoding-type") in ("csr_matrix", "csc_matrix"):
            found[name] = item

    file.visititems(add)
    return found


def matrices(adata):
    """Every sparse matrix in memory."""
    every = {"X": adata.X, **adata.layers, **adata.obsp, **adata.obsm}
    return {key: item for key, item in every.items() if sparse.issparse(item)}


def check_indices(adata):
    for key, matrix in matrices(adata).items():
        assert matrix.indices.dtype == matrix.indptr.dtype == np.int32, key


def test_one_dtype_of_indices_and_pointers(results):
    seen = set()
    for path in results.values():
        with h5py.File(path) as file:
            for name, group in sparse_groups(file).items():
                assert group["indices"].dtype == group["indptr"].dtype == np.int32, name
                seen.add(name)
        check_indices(ad.read_h5ad(path))
    assert seen == {
        "X", "layers/counts", "layers/spliced", "layers/columns", "layers/dense", "obsm/sparse",
        "obsp/c2s_neighbors_connectivities", "obsp/c2s_neighbors_distances",
    }  # fmt: skip


def test_scanpy(path):
    adata = ad.read_h5ad(path)
    label = next(
        c for c in ("type", "c2s_condition", "condition", "c2s_cell_type") if c in adata.obs
    )
    adata.obs[label] = adata.obs[label].astype("category")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.pca(adata, n_comps=4)
        assert adata.obsm["X_pca"].shape == (adata.n_obs, 4)
        sc.pp.neighbors(adata, n_neighbors=4)
        if adata.n_obs > 10:
            sc.tl.umap(adata, maxiter=5)
        sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
        assert adata.obs["leiden"].notna().all()
        sc.tl.rank_genes_groups(adata, label, method="wilcoxon")
        sc.pp.highly_variable_genes(adata, n_top_genes=10)
        sc.pp.calculate_qc_metrics(adata, percent_top=None, inplace=True)
        sc.pp.filter_genes(adata, min_cells=1)
        sc.pp.scale(adata)


@pytest.mark.parametrize("kind", WITH_COUNTS)
def test_counts_are_what_scvi_and_scanpy_take(kind, results):
    adata = ad.read_h5ad(results[kind])
    counts = adata.layers["counts"]
    assert isinstance(counts, sparse.csr_matrix)
    assert counts.dtype == np.float32
    assert counts.has_canonical_format
    assert (counts.data % 1 == 0).all()
    assert (counts.data > 0).all()
    batch = counts[np.random.default_rng(0).permutation(adata.n_obs)[:5]]  # as scvi draws them
    assert batch.toarray().shape == (5, adata.n_vars)
    adata.X = counts.copy()
    sc.pp.calculate_qc_metrics(adata, percent_top=(5,), inplace=True)
    expected = np.asarray(counts.sum(axis=1)).ravel()
    np.testing.assert_allclose(adata.obs["total_counts"], expected)
    sc.pp.downsample_counts(adata, counts_per_cell=20)
    assert adata.X.sum(axis=1).max() <= 20
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)


SLICES = {
    "step": lambda adata: adata[::7],
    "mask": lambda adata: adata[np.arange(adata.n_obs) % 3 == 0],
    "names": lambda adata: adata[adata.obs_names[[3, 1, 2]], adata.var_names[[5, 2]]],
    "numbers": lambda adata: adata[[4, 0], :5],
    "genes": lambda adata: adata[:, ::3],
}


@pytest.mark.parametrize("cut", SLICES)
def test_slices(cut, path):
    adata = ad.read_h5ad(path)
    part = SLICES[cut](adata).copy()
    backed = SLICES[cut](ad.read_h5ad(path, backed="r")).to_memory()
    dense = pd.DataFrame(adata.X.toarray(), adata.obs_names, adata.var_names)
    expected = dense.loc[part.obs_names, part.var_names].to_numpy()
    for made in (part, backed):
        np.testing.assert_array_equal(made.X.toarray(), expected)
        for matrix in matrices(made).values():
            matrix.eliminate_zeros()
            matrix.sum_duplicates()


def test_concat_and_writing_again(path, tmp_path):
    adata = ad.read_h5ad(path)
    adata.X.eliminate_zeros()
    other = adata[:, 3:].copy()
    other.obs_names = [f"{name}-again" for name in adata.obs_names]
    for join in ("inner", "outer"):
        both = ad.concat([adata, other], join=join, pairwise=True)
        assert both.n_obs == 2 * adata.n_obs
        check_indices(both)
    adata.write_h5ad(tmp_path / "again.h5ad")
    adata.write_zarr(tmp_path / "again.zarr")
    ad.read_h5ad(path, backed="r").to_memory().write_h5ad(tmp_path / "backed.h5ad")
    read = (
        ad.read_h5ad(tmp_path / "again.h5ad"),
        ad.read_zarr(tmp_path / "again.zarr"),
        ad.read_h5ad(tmp_path / "backed.h5ad"),
    )
    for again in read:
        assert (again.X != adata.X).nnz == 0
        check_indices(again)
        again[::7].copy().X.eliminate_zeros()
