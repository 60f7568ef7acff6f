"""Bulk samples are not filtered and have their own metrics; pseudobulk is scanpy's sums."""

import json
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from making import cells, counts
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.bulk.bulk import TOP, input_kind
from c2sflow.data.bulk.pseudobulk import group_cells, pseudobulk_obs, run_pseudobulk
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.decision import detect_state
from c2sflow.data.state.normalization import State
from c2sflow.steps.qc import main


@pytest.fixture(scope="module")
def bulk():
    """6 samples × 120 genes, a mitochondrial one; half of the genes are in one sample only."""
    matrix = counts(6, 120, seed=3).toarray() * 1000
    matrix[1:, 60:119] = 0
    matrix[2, 119] = 10**7  # a sample that is mostly mitochondrial
    matrix[3] = 0
    matrix[3, :2] = 12_000_001, 12_000_000  # float32 holds both, but not their sum
    names = [f"ENSG{n:011d}.{n % 7}" for n in range(120)]
    symbols = [*(f"GENE{n}" for n in range(119)), "MT-CO1"]
    var = pd.DataFrame({"symbol": symbols}, index=names)
    obs = pd.DataFrame({"group": list("aabbcc")}, index=[f"sample {n}" for n in range(6)])
    return ad.AnnData(sparse.csr_matrix(matrix.astype(np.float32)), obs=obs, var=var)


def qc(data, target, kind="bulk", state="counts", **options):
    state = State(*state) if isinstance(state, tuple) else State(state)
    options = {"sample": "s", "organism": "human", "kind": kind, "state": state} | options
    return run_qc(data, target, **options)


def opened(matrix, names=None):
    data = ad.AnnData(sparse.csr_matrix(matrix))
    if names:
        data.obs_names = names
    return open_anndata(data)


SPARSE = np.eye(60, 40) * 5  # 60 rows, 98 % zeros
DENSE = np.full((60, 40), 20_000.0)


@pytest.mark.parametrize(
    ("given_kind", "path", "matrix", "names", "kind", "why"),
    [
        ("auto", "a b/x.TSV.gz", SPARSE[:6], None, "bulk", "6 rows without barcodes"),
        ("auto", "x.csv", DENSE, None, "bulk", "60 rows, 0% zeros, median sum 8e\\+05"),
        ("auto", "x.csv", SPARSE, None, "cells", "60 rows, 98% zeros, median sum"),
        ("auto", "x.csv", SPARSE / 3, None, "cells", "98% zeros"),
        ("auto", "x.txt", DENSE[:2], ["ACGTACGTACGT-1", "s_TTGCATTGCATT"], "cells", "barcodes"),
        ("auto", "x.h5ad", SPARSE[:6], None, "cells", None),
        ("cells", "x.csv", DENSE, None, "cells", None),
        ("bulk", "x.h5ad", SPARSE, None, "bulk", None),
    ],
)
def test_kind(given_kind, path, matrix, names, kind, why):
    with opened(matrix, names) as data:
        found, reason = input_kind(given_kind, path, data)
    assert found == kind
    assert reason is None if why is None else re.search(why, reason)


@pytest.mark.parametrize("matrix", [DENSE / 2000, SPARSE * 1e5])
def test_kind_is_asked_for_where_a_table_may_hold_either(matrix):
    with opened(matrix) as data, pytest.raises(UserError, match="--input_kind cells or --input_k"):
        input_kind("auto", "x.csv", data)


def test_bulk_samples_are_not_filtered_and_have_metrics_of_their_own(bulk, tmp_path):
    target = tmp_path / "s.h5ad"
    summary = qc(bulk, target, symbols_column="symbol", filters=Filters(1000, 5, 1.0))
    kept = ad.read_h5ad(target)
    assert kept.n_obs == 6
    expressed = bulk.X.getnnz(axis=0) > 0
    assert list(kept.var_names) == list(bulk.var["symbol"][expressed])
    assert "MT-CO1" in kept.var_names
    expected = bulk.copy()
    expected.var["mt"] = expected.var["symbol"].str.startswith("MT-")
    sc.pp.calculate_qc_metrics(
        expected, qc_vars=["mt"], percent_top=[50], log1p=False, inplace=True
    )
    for name in ("total_counts", "n_genes_by_counts", "pct_counts_mt", TOP):
        np.testing.assert_allclose(kept.obs[name], expected.obs[name], rtol=1e-6)
    assert kept.obs["total_counts"].iloc[3] == 24_000_001
    assert summary["n_cells_kept"] == 6
    assert [row["name"] for row in summary["bulk_samples"]] == list(bulk.obs_names)
    assert summary["bulk_samples"][2]["pct_counts_mt"] > 90
    assert summary["bulk_samples"][1][TOP] == pytest.approx(expected.obs[TOP].iloc[1])
    assert TOP in summary["histograms"]
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize("logged", [False, True])
def test_transcripts_per_million_become_what_their_counts_would(bulk, tmp_path, logged):
    qc(bulk, tmp_path / "counts.h5ad", symbols_column="symbol")
    tpm = bulk.copy()
    sc.pp.normalize_total(tpm, target_sum=1e6)
    if logged:
        tpm.X = sparse.csr_matrix(np.log2(tpm.X.toarray() + 1))
    state = detect_state(tpm.X, "x")
    assert state == (State("lognormalized", 2) if logged else State("normalized"))
    summary = qc(
        tpm, tmp_path / "tpm.h5ad", symbols_column="symbol", state=(state.name, state.log_base)
    )
    one, other = (ad.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("counts", "tpm"))
    np.testing.assert_allclose(other.X.toarray(), one.X.toarray(), atol=1e-4)
    assert "counts" not in other.layers
    assert "total_counts" not in other.obs
    assert summary["bulk_samples"][0].keys() == {"name", "n_genes_by_counts", TOP, "pct_counts_mt"}


def test_cells_are_as_before(tmp_path):
    data = cells()
    summary = qc(data, tmp_path / "s.h5ad", kind="cells", filters=Filters(5, 3, 100))
    assert "bulk_samples" not in summary
    assert TOP not in ad.read_h5ad(tmp_path / "s.h5ad").obs


# ------------------------------------------------------------------ pseudobulk


@pytest.fixture(scope="module")
def summed(tmp_path_factory):
    """QC's file of 40 cells, and its sums by type and condition."""
    folder = tmp_path_factory.mktemp("pseudobulk")
    data = cells()
    data.obs["type"] = data.obs["type"].where(np.arange(40) % 10 != 7)
    data.obs["donor"] = np.where(data.obs["condition"] == "IFN", "d1", "d2")
    qc(data, folder / "cells.h5ad", kind="cells", filters=Filters(2, 1, 100))
    summary = run_pseudobulk(
        folder / "cells.h5ad", folder / "sums.h5ad", ["type", "condition"], chunk_size=7
    )
    return ad.read_h5ad(folder / "cells.h5ad"), ad.read_h5ad(folder / "sums.h5ad"), summary


def test_sums_are_scanpys(summed):
    data, made, summary = summed
    own = data[data.obs["type"].notna()]
    expected = sc.get.aggregate(own, ["type", "condition"], "sum", layer="counts")
    assert sorted(made.obs_names) == sorted(expected.obs_names)
    np.testing.assert_array_equal(
        made.layers["counts"].toarray(), expected[made.obs_names].layers["sum"]
    )
    sizes = own.obs.groupby(["type", "condition"], observed=True).size()
    keys = pd.MultiIndex.from_frame(made.obs[["type", "condition"]])
    assert made.obs["n_cells"].tolist() == sizes.reindex(keys).tolist()
    linear = made.layers["counts"].toarray()
    linear = 1e4 * linear / linear.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(made.X.toarray(), np.log10(1 + linear), rtol=1e-5)
    totals = made.layers["counts"].sum(axis=1)
    np.testing.assert_allclose(made.obs["total_counts"], np.ravel(totals))
    assert summary["pseudobulk"] == {"by": ["type", "condition"], "n_samples": 4}
    assert summary["warnings"] == ["4 cells have no type or condition: left out"]


def test_what_is_the_same_in_a_group_is_kept(summed):
    _, made, _ = summed
    assert {"type", "condition", "donor", "sample", "organism", "n_cells"} <= set(made.obs)
    assert not {"score", "cell type"} & set(made.obs)
    assert (made.obs["donor"] == np.where(made.obs["condition"] == "IFN", "d1", "d2")).all()
    assert not made.obsm
    with open_anndata(made) as data:
        assert detect_state(data.rows(0, 4, "counts"), "x") == State("counts")


@given(st.lists(st.sampled_from(["a", "b", "a_b", None]), min_size=1, max_size=30), st.randoms())
def test_groups_do_not_depend_on_the_order_of_the_cells(labels, random):
    obs = pd.DataFrame({"x": labels, "y": [str(n % 2) for n in range(len(labels))]})
    obs.index = obs.index.astype(str)
    order = random.sample(range(len(labels)), len(labels))
    one, other = group_cells(obs, ["x", "y"]), group_cells(obs.iloc[order], ["x", "y"])
    assert one[order].tolist() == other.tolist()
    assert ((one < 0) == obs["x"].isna()).all()
    if (one >= 0).any():
        table, again = pseudobulk_obs(obs, ["x", "y"]), pseudobulk_obs(obs.iloc[order], ["x", "y"])
        pd.testing.assert_frame_equal(table, again)
        assert table.index.is_unique
        assert table["n_cells"].sum() == (one >= 0).sum()


def test_organisms_are_not_summed_together():
    obs = pd.DataFrame({"x": "a", "organism": ["human", "mouse", "human"]}, index=list("abc"))
    assert group_cells(obs, ["x"]).tolist() == [0, 1, 0]
    assert pseudobulk_obs(obs, ["x"])["organism"].tolist() == ["human", "mouse"]


def test_without_counts_or_groups_there_is_no_sum(tmp_path):
    data = cells()
    data.X = data.X * 0.5
    qc(data, tmp_path / "s.h5ad", kind="cells", state="normalized", filters=Filters(skip=True))
    with pytest.raises(UserError, match="sums raw counts, and there are none"):
        run_pseudobulk(tmp_path / "s.h5ad", tmp_path / "t.h5ad", ["type"])


def test_command(tmp_path):
    cells().write_h5ad(tmp_path / "x.h5ad")
    words = [f"--h5ad={tmp_path}/x.h5ad", "--id=x", "--sample=x", "--organism=human"]
    words += ["--input-state=counts", "--min-genes=2", "--pseudobulk=type , cell type"]
    done = CliRunner().invoke(main, [*words, f"--outdir={tmp_path}/out"])
    assert done.exit_code == 0, done.output
    made = ad.read_h5ad(tmp_path / "out/x.h5ad")
    assert made.n_obs == 6
    summary = json.loads((tmp_path / "out/x.qc.json").read_text())
    assert summary["n_cells_kept"] == made.obs["n_cells"].sum()
    assert summary["pseudobulk"]["by"] == ["type", "cell type"]
    # Bulk samples are never summed.
    done = CliRunner().invoke(main, [*words, "--input-kind=bulk", f"--outdir={tmp_path}/b"])
    assert done.exit_code == 0, done.output
    assert ad.read_h5ad(tmp_path / "b/x.h5ad").n_obs == 40
