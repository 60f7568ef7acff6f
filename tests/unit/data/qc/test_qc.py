"""Quality control in a stream equals scanpy in memory, whatever the size of the chunks."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import cells, write_input
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.qc.survey import cell_metrics
from c2sflow.data.state.normalization import State

COUNTS = State("counts")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Changing the sparsity structure"),
    pytest.mark.filterwarnings("ignore:Some cells have zero counts"),
]


def in_scanpy(data: ad.AnnData, filters: Filters) -> ad.AnnData:
    """The same with scanpy's functions on the matrix in memory."""
    data = data.copy()
    data.var["mt"] = data.var_names.str.startswith("MT-")
    sc.pp.calculate_qc_metrics(data, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
    sc.pp.filter_cells(data, min_genes=max(filters.min_genes, 1))
    data = data[data.obs["pct_counts_mt"] <= filters.max_pct_mt].copy()
    sc.pp.filter_genes(data, min_cells=filters.min_cells)
    if 0 in data.shape:
        return data
    data.layers["counts"] = data.X.copy()
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data, base=10)
    return data


def qc(data, path, state=COUNTS, **options):
    options = {"sample": "s", "organism": "human", **options}
    summary = run_qc(data, path / "out.h5ad", state=state, **options)
    return ad.read_h5ad(path / "out.h5ad"), summary


def assert_same(made: ad.AnnData, expected: ad.AnnData) -> None:
    assert list(made.obs_names) == list(expected.obs_names)
    assert list(made.var_names) == list(expected.var_names)
    assert sparse.isspmatrix_csr(made.X)
    assert made.X.dtype == np.float32
    assert made.X.has_sorted_indices
    assert made.X.nnz == (made.X.data > 0).sum()
    np.testing.assert_allclose(made.X.toarray(), expected.X.toarray(), rtol=1e-6)
    for name in ("n_genes_by_counts", "total_counts", "total_counts_mt", "pct_counts_mt"):
        np.testing.assert_allclose(made.obs[name], expected.obs[name], rtol=1e-6)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 1000),
    chunk_size=st.integers(1, 50),
    min_genes=st.integers(0, 26),
    min_cells=st.integers(0, 25),
    max_pct_mt=st.floats(4, 40),
)
def test_equals_scanpy(tmp_path, seed, chunk_size, min_genes, min_cells, max_pct_mt):
    filters = Filters(min_genes, min_cells, max_pct_mt)
    data = cells(seed=seed)
    data.X[seed % 40] = 0
    data.X.eliminate_zeros()
    expected = in_scanpy(data, filters)
    if 0 in expected.shape:
        with pytest.raises(UserError, match=r"no cell passes|no gene is in"):
            qc(data, tmp_path, filters=filters, chunk_size=chunk_size)
        return
    made, summary = qc(data, tmp_path, filters=filters, chunk_size=chunk_size)
    assert_same(made, expected)
    assert np.array_equal(made.layers["counts"].toarray(), expected.layers["counts"].toarray())
    assert summary["n_cells_kept"] == expected.n_obs
    assert summary["n_genes_kept"] == expected.n_vars
    assert sum(summary["dropped"].values()) == data.n_obs - expected.n_obs
    assert summary["dropped"]["no_genes"] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("n_top", [None, 5])
def test_metrics_are_scanpys_to_the_bit(dtype, n_top):
    values = sparse.random(60, 34, 0.4, "csr", rng=np.random.default_rng(0)) * 300
    values = values.ceil() if dtype is np.int64 else values
    values[3] = 0
    block = sparse.csr_matrix(values.astype(dtype))
    block.eliminate_zeros()
    data = cells()[:1].copy()
    mitochondrial = np.asarray(data.var_names.str.startswith("MT-"))
    reference = ad.AnnData(block.astype(np.float64) if n_top else block)
    reference.var["mt"] = mitochondrial
    with np.errstate(invalid="ignore"):
        expected, _ = sc.pp.calculate_qc_metrics(
            reference, qc_vars=["mt"], percent_top=n_top and [n_top], log1p=False
        )
    made = cell_metrics(block, mitochondrial, COUNTS, n_top)
    assert set(made) <= set(expected)
    assert len(made.columns) == (5 if n_top else 4)
    for name in set(made) - {"pct_counts_in_top_5_genes"}:
        np.testing.assert_array_equal(made[name], expected[name])
        assert made[name].dtype == expected[name].dtype
    if n_top:  # which adds the largest in another order
        name = "pct_counts_in_top_5_genes"
        np.testing.assert_allclose(made[name], expected[name], rtol=1e-12)


@pytest.mark.parametrize("kind", ["csr-h5ad", "csc-h5ad", "dense-h5ad", "csr-zarr", "10x-h5"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_equals_scanpy_from_disk(kind, tmp_path):
    filters = Filters(5, 3, 30)
    made, _ = qc(write_input(cells(), kind, tmp_path), tmp_path, filters=filters, chunk_size=7)
    assert_same(made, in_scanpy(cells(), filters))


def test_annotation_survives(tmp_path):
    data = cells()
    data.obs["sample"] = "lane 1"
    filters = Filters(21, 3, 30)
    made, _ = qc(data, tmp_path, filters=filters, extra={"donor": "d1"}, chunk_size=7)
    kept = data[made.obs_names, made.var_names]
    assert 0 < made.n_obs < data.n_obs
    pd.testing.assert_frame_equal(
        made.obs[["type", "score"]], kept.obs[["type", "score"]], check_categorical=False
    )
    assert made.obs["type"].dtype == "category"
    assert set(made.obs["sample"]) == {"s"}
    assert set(made.obs["input_sample"]) == {"lane 1"}
    assert set(made.obs["donor"]) == {"d1"}
    assert set(made.obs["organism"]) == {"human"}
    assert made.uns["log1p"]["base"] == 10
    np.testing.assert_array_equal(made.obsm["X_pca"], kept.obsm["X_pca"])
    np.testing.assert_allclose(
        made.layers["spliced"].toarray(), kept.layers["spliced"].toarray(), rtol=1e-6
    )


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_every_kind_of_obs_and_obsm_survives(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr("c2sflow.data.qc.qc.DENSE_ROWS", 1)  # also blocks of which no cell is kept
    data = cells()
    names = data.obs_names
    data.obs["ünï code"] = pd.Categorical([f"α{n % 3}" for n in range(40)], ["α2", "α1", "α0", "β"])
    data.obs["ranked"] = pd.Categorical(["lo", "hi"] * 20, ["lo", "hi"], ordered=True)
    data.obs["nullable"] = pd.array([1, None] * 20, dtype="Int64")
    data.obs["flag"] = pd.array([True, None, False, True] * 10, dtype="boolean")
    data.obs["text"] = [f"日本{n}" for n in range(40)]
    data.obsm["whole"] = np.arange(80).reshape(40, 2)
    data.obsm["cube"] = np.random.default_rng(0).random((40, 2, 3))
    data.obsm["table"] = pd.DataFrame({"a": np.arange(40.0), "b": ["x", "y"] * 20}, index=names)
    data.obsm["sparse"] = sparse.random(40, 5, 0.4, "csr", rng=np.random.default_rng(0))
    path = tmp_path / f"input.{suffix}"
    data.write_zarr(path) if suffix == "zarr" else data.write_h5ad(path)
    made, _ = qc(path, tmp_path, filters=Filters(21, 3, 30))
    kept = data[made.obs_names]
    assert 0 < made.n_obs < 40
    for name in ("ünï code", "ranked", "nullable", "flag", "text"):
        assert made.obs[name].astype(object).tolist() == kept.obs[name].astype(object).tolist()
    assert made.obs["ranked"].cat.ordered
    assert list(made.obs["ünï code"].cat.categories)[:2] == ["α2", "α1"]
    for name in ("whole", "cube", "X_pca"):
        assert made.obsm[name].dtype == kept.obsm[name].dtype
        np.testing.assert_array_equal(made.obsm[name], kept.obsm[name])
    assert made.obsm["table"].astype(object).equals(kept.obsm["table"].astype(object))
    assert (made.obsm["sparse"] != kept.obsm["sparse"]).nnz == 0


def test_skip_qc_drops_nothing(tmp_path):
    data = cells()
    data.X[3] = 0
    made, summary = qc(data, tmp_path, filters=Filters(1000, 1000, 0, skip=True))
    assert made.shape == data.shape
    assert made.obs["n_genes_by_counts"].iloc[3] == 0
    assert summary["dropped"] == {"no_genes": 0, "min_genes": 0, "max_pct_mt": 0}


# Counts of MT-CO1 and of ACTB, GAPDH, B2M, RPLP0.
AT_THE_THRESHOLDS = {
    "mt20": [2, 2, 2, 2, 2],  # 20 %, 5 genes
    "mt25": [5, 5, 5, 5, 0],  # 25 %, 4 genes
    "mt50": [4, 4, 0, 0, 0],  # 50 %, 2 genes
    "mt0": [0, 1, 1, 1, 0],  # 3 genes
    "empty": [0, 0, 0, 0, 0],
}


def at_the_thresholds() -> ad.AnnData:
    genes = ["MT-CO1", "ACTB", "GAPDH", "B2M", "RPLP0"]
    counts = np.array(list(AT_THE_THRESHOLDS.values()), dtype=np.float32)
    return ad.AnnData(
        counts, pd.DataFrame(index=list(AT_THE_THRESHOLDS)), pd.DataFrame(index=genes)
    )


@pytest.mark.parametrize(
    ("max_pct_mt", "kept"),
    [
        (0, ["mt0"]),
        (19.99, ["mt0"]),
        (20, ["mt20", "mt0"]),
        (24.99, ["mt20", "mt0"]),
        (25, ["mt20", "mt25", "mt0"]),
        (50, ["mt20", "mt25", "mt50", "mt0"]),
    ],
)
def test_a_cell_with_exactly_max_pct_mt_is_kept(max_pct_mt, kept, tmp_path):
    made, summary = qc(at_the_thresholds(), tmp_path, filters=Filters(1, 1, max_pct_mt))
    assert list(made.obs_names) == kept
    assert summary["dropped"] == {"no_genes": 1, "min_genes": 0, "max_pct_mt": 4 - len(kept)}


@pytest.mark.parametrize(
    ("min_genes", "kept"),
    [
        (0, ["mt20", "mt25", "mt50", "mt0"]),  # a cell without genes is none
        (2, ["mt20", "mt25", "mt50", "mt0"]),
        (3, ["mt20", "mt25", "mt0"]),
        (4, ["mt20", "mt25"]),
        (5, ["mt20"]),
    ],
)
def test_a_cell_with_exactly_min_genes_is_kept(min_genes, kept, tmp_path):
    made, summary = qc(at_the_thresholds(), tmp_path, filters=Filters(min_genes, 1, 100))
    assert list(made.obs_names) == kept
    assert summary["dropped"] == {"no_genes": 1, "min_genes": 4 - len(kept), "max_pct_mt": 0}


def test_a_cell_is_counted_by_the_first_threshold_that_it_fails(tmp_path):
    _, summary = qc(at_the_thresholds(), tmp_path, filters=Filters(3, 1, 20))
    assert summary["dropped"] == {"no_genes": 1, "min_genes": 1, "max_pct_mt": 1}


@pytest.mark.parametrize(
    ("min_cells", "kept"),
    [
        (0, ["MT-CO1", "ACTB", "GAPDH", "B2M", "RPLP0"]),
        (1, ["MT-CO1", "ACTB", "GAPDH", "B2M", "RPLP0"]),
        (2, ["MT-CO1", "ACTB", "GAPDH", "B2M"]),
        (3, ["MT-CO1", "ACTB", "GAPDH", "B2M"]),
        (4, ["ACTB"]),
    ],
)
def test_a_gene_in_exactly_min_cells_is_kept(min_cells, kept, tmp_path):
    """Cells that were dropped do not count."""
    made, summary = qc(at_the_thresholds(), tmp_path, filters=Filters(1, min_cells, 100))
    assert list(made.var_names) == kept
    assert summary["dropped_genes"] == {"min_cells": 5 - len(kept)}


def test_only_kept_cells_count_for_min_cells(tmp_path):
    """ACTB is in four cells, of which two are kept."""
    made, _ = qc(at_the_thresholds(), tmp_path, filters=Filters(4, 2, 100))
    assert list(made.var_names) == ["MT-CO1", "ACTB", "GAPDH", "B2M"]
    with pytest.raises(UserError, match="no gene is in --min_cells 3 of the 2 kept cells"):
        qc(at_the_thresholds(), tmp_path, filters=Filters(4, 3, 100))


def test_bulk_samples_are_kept_whatever_they_hold(tmp_path):
    made, summary = qc(at_the_thresholds(), tmp_path, filters=Filters(5, 4, 10), kind="bulk")
    assert list(made.obs_names) == ["mt20", "mt25", "mt50", "mt0"]
    assert list(made.var_names) == ["MT-CO1", "ACTB", "GAPDH", "B2M", "RPLP0"]
    assert summary["dropped"] == {"no_genes": 1, "min_genes": 0, "max_pct_mt": 0}


def test_a_gene_of_no_bulk_sample_is_left_out(tmp_path):
    data = at_the_thresholds()
    data.X[:, 4] = 0
    assert list(qc(data, tmp_path, kind="bulk")[0].var_names)[-1] == "B2M"


@pytest.mark.parametrize("base", ["e", 2, 10])
def test_log_normalised_values_are_only_brought_to_base_10(base, tmp_path):
    filters = Filters(5, 0, 100)
    data = in_scanpy(cells(), filters)
    counted = data.obs[["n_genes_by_counts", "pct_counts_mt"]]
    base_10 = data.X.copy()
    data.X = data.X * np.float32({"e": np.log(10), 2: np.log2(10), 10: 1}[base])
    made, summary = qc(data, tmp_path, State("lognormalized", base), filters=filters)
    np.testing.assert_allclose(made.X.toarray(), base_10.toarray(), rtol=1e-5)
    np.testing.assert_allclose(made.obs[counted.columns], counted, rtol=1e-3)
    assert summary["median_counts"] is None


def test_normalised_values_are_only_logged(tmp_path):
    filters = Filters(5, 0, 100)
    data = in_scanpy(cells(), filters)
    base_10 = data.X.copy()
    data.X.data = np.expm1(data.X.data * np.log(10))
    made, _ = qc(data, tmp_path, State("normalized"), filters=filters)
    np.testing.assert_allclose(made.X.toarray(), base_10.toarray(), rtol=1e-4)


def test_symbols_and_organisms(tmp_path):
    data = cells()
    data.var["gene_name"] = data.var_names
    data.var_names = [f"ENSG{n:011}" for n in range(data.n_vars)]
    data.obs["organism"] = ["Homo sapiens", "Mus musculus"] * 20
    options = {"filters": Filters(5, 0, 100), "organism": "obs", "symbols_column": "gene_name"}
    made, summary = qc(data, tmp_path, **options)
    assert list(made.var_names) == list(made.var["gene_name"])
    assert list(made.var["input_id"][:1]) == ["ENSG00000000000"]
    assert list(made.obs["c2s_organism"]) == ["human", "mouse"] * 20
    assert list(made.obs["organism"]) == ["Homo sapiens", "Mus musculus"] * 20  # the user's own
    assert summary["warnings"] == []


def test_no_mitochondrial_genes_is_said(tmp_path):
    data = cells()[:, :20].copy()
    made, summary = qc(data, tmp_path, filters=Filters(0, 0, 5))
    assert "pct_counts_mt" not in made.obs
    assert "pct_counts_mt" not in summary["histograms"]
    assert summary["warnings"] == ["no mitochondrial genes found: --max_pct_mt drops no cells"]


@pytest.mark.parametrize(
    ("change", "filters", "message"),
    [
        (None, Filters(1000), "40 fewer than --min_genes 1000.*the median cell has"),
        (None, Filters(0, 100), "no gene is in --min_cells 100 of the"),
        (np.nan, Filters(0), r"X holds NaN in 1 of 40 cells \(cell25\)"),
        (-1, Filters(0), r"X holds negative values in 1 of 40 cells \(cell25\)"),
        (
            "log-normalised",
            Filters(0),
            r"taken as raw counts, but X holds others \(natural logs .* 1 of 40 cells \(cell25\)"
            ".*--input_state",
        ),
    ],
)
def test_errors_leave_no_file(change, filters, message, tmp_path):
    data = cells()
    if change == "log-normalised":
        own = data.X[25].toarray()
        data.X[25] = sparse.csr_matrix(np.log1p(own / own.sum() * 1e4))
    elif change is not None:
        data.X[25, 0] = change
    with pytest.raises(UserError, match=message):
        qc(data, tmp_path, filters=filters, chunk_size=7)
    assert list(tmp_path.iterdir()) == []


def test_histograms_count_every_cell(tmp_path):
    _, summary = qc(cells(), tmp_path, filters=Filters(12, 0, 100))
    for histogram in summary["histograms"].values():
        assert len(histogram["edges"]) == len(histogram["before"]) + 1
        assert sum(histogram["before"]) == summary["n_cells_in"]
        assert sum(histogram["after"]) == summary["n_cells_kept"]
