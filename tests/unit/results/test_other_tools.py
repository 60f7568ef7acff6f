"""What other tools need of the results: a base of the logarithm, counts, control cells."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from results.test_merge import make_sample
from results.test_predictions import write_shard
from scipy import sparse

from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import LOG_BASES
from c2sflow.data.state.reading import find_state
from c2sflow.report.markers import read_markers
from c2sflow.results import predictions
from c2sflow.results.merge import merge_samples
from c2sflow.results.predictions import Predicted, merge_predictions, summarise
from c2sflow.sentences.no_ops import predicted_only

FIT = {"slope": -0.5, "intercept": 2.0}
GENES = [f"G{n}" for n in range(40)]


def qc_file(folder, n_cells=30):
    """A sample as QC writes it: X is log10 of counts at 10,000 a cell."""
    sample, _ = make_sample(folder, "s 1", n_cells, GENES, [n_cells])
    cells = ad.read_h5ad(sample.path)
    counts = np.random.default_rng(1).poisson(3, cells.shape).astype(np.float32)
    cells.layers["counts"] = sparse.csr_matrix(counts)
    cells.X = sparse.csr_matrix(np.log10(1 + 1e4 * counts / counts.sum(1, keepdims=True)))
    cells.X = cells.X.astype(np.float32)
    cells.write_h5ad(sample.path)
    return sample


def run(folder, base=10, controls=False, n_answers=6):
    sample = qc_file(folder)
    target, cells_file = folder / "c2s_perturbed.h5ad", folder / "c2s.h5ad"
    uns = {"seed": 5}
    merged = merge_samples([sample], cells_file, uns, base=base)
    texts = [" ".join(np.random.default_rng(n).permutation(GENES)[:20]) for n in range(n_answers)]
    rows = [(f"cell{n // 2}", ("KO", "IFN")[n % 2], text, 0) for n, text in enumerate(texts)]
    write_shard(folder / "0.parquet", rows)
    shard = Predicted(
        folder / "0.parquet", n_answers, {name: n for n, name in enumerate(GENES)}, merged.obs.index
    )
    obs, notices = merge_predictions(
        [shard], merged.obs, pd.DataFrame(index=GENES), FIT, target, uns,
        base=base, source=cells_file, controls=controls,
    )  # fmt: skip
    return ad.read_h5ad(cells_file), ad.read_h5ad(target), obs, notices


@pytest.mark.parametrize("base", [10, 2, "e"])
def test_x_is_a_logarithm_to_the_base_that_uns_records(tmp_path, base):
    cells, predicted, *_ = run(tmp_path, base)
    number = LOG_BASES[base]
    own = cells.copy()
    own.X = own.layers["counts"].copy()
    sc.pp.normalize_total(own, target_sum=1e4)
    sc.pp.log1p(own, base=None if base == "e" else number)
    np.testing.assert_allclose(cells.X.toarray(), own.X.toarray(), rtol=1e-5)
    by_rank = np.maximum(2 - 0.5 * np.log10(np.arange(1, 21)), 0) * np.log(10) / np.log(number)
    for row in predicted.X.toarray():
        np.testing.assert_allclose(np.sort(row[row > 0])[::-1], by_rank, rtol=1e-6)
    for adata in (cells, predicted):
        assert adata.uns["log1p"]["base"] == pytest.approx(number)
    # Our own reader finds the base.
    with open_anndata(tmp_path / "c2s.h5ad") as data:
        decided, _ = find_state(data, "auto", "here")
    assert (decided.state.name, decided.state.log_base) == ("lognormalized", base)


def test_the_report_s_genes_are_in_one_unit_whatever_the_base(tmp_path):
    import h5py

    groups = pd.Series(pd.Categorical(["a", "b"] * 15))
    tables = []
    for base in (10, "e"):
        folder = tmp_path / str(base)
        folder.mkdir()
        run(folder, base)
        with h5py.File(folder / "c2s.h5ad") as file:
            tables.append(read_markers(file, np.arange(30), groups))
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)


def test_counts_are_as_many_as_the_control_cell_has(tmp_path):
    cells, predicted, _, notices = run(tmp_path)
    counts = predicted.layers["counts"]
    depth = np.asarray(cells.layers["counts"].sum(axis=1)).ravel()
    sources = cells.obs_names.get_indexer(predicted.obs["c2s_source_cell"])
    assert (np.asarray(counts.sum(axis=1)).ravel() == depth[sources]).all()
    assert (counts.data == np.rint(counts.data)).all()
    for row, sentence in zip(counts.toarray(), predicted.obs["c2s_sentence"], strict=True):
        ranked = row[[GENES.index(word) for word in sentence.split()]]
        assert (np.diff(ranked) <= 0).all()
        assert ranked.sum() == row.sum()
    assert (counts.astype(bool) != predicted.X.astype(bool)).nnz == 0
    assert notices == []


def test_counts_do_not_depend_on_the_blocks(tmp_path, monkeypatch):
    whole = run(tmp_path)[1].layers["counts"]
    monkeypatch.setattr("c2sflow.results.answers.BLOCK", 4)
    (tmp_path / "again").mkdir()
    again = run(tmp_path / "again")[1].layers["counts"]
    assert (whole != again).nnz == 0


def test_without_counts_in_every_sample_there_are_none(tmp_path, caplog):
    caplog.set_level("INFO")
    sample = qc_file(tmp_path)
    cells = ad.read_h5ad(sample.path)
    del cells.layers["counts"]
    cells.write_h5ad(sample.path)
    merged = merge_samples([sample], tmp_path / "c2s.h5ad", {})
    write_shard(tmp_path / "0.parquet", [("cell0", "KO", "G1 G2", 0)])
    shard = Predicted(tmp_path / "0.parquet", 1, {"G1": 1, "G2": 2}, merged.obs.index)
    _, notices = merge_predictions(
        [shard], merged.obs, pd.DataFrame(index=GENES), FIT, tmp_path / "p.h5ad", {},
        source=tmp_path / "c2s.h5ad",
    )  # fmt: skip
    assert "counts" not in ad.read_h5ad(tmp_path / "p.h5ad").layers
    assert notices == []
    assert "p.h5ad has no layers['counts']: not every sample came as raw counts" in caplog.text


def test_control_cells_are_those_of_c2s_h5ad(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "BLOCK", 2)
    cells, predicted, obs, _ = run(tmp_path, "e", controls=True)
    marked = predicted.obs["c2s_measured_control"].to_numpy()
    own = predicted[marked]
    assert own.obs["c2s_source_cell"].tolist() == ["cell0", "cell1", "cell2"]
    assert set(own.obs["c2s_condition"]) == set(own.obs["c2s_perturbation"]) == {"control"}
    measured = cells[own.obs["c2s_source_cell"].tolist()]
    assert (own.X != measured.X).nnz == 0
    assert (own.layers["counts"] != measured.layers["counts"]).nnz == 0
    assert np.array_equal(own.obsm["X_c2s"], measured.obsm["X_c2s"])
    assert (own.obs["c2s_sentence"] == "").all()
    assert (own.obs["c2s_n_predicted_genes"] == 0).all()
    assert own.obs["c2s_log_likelihood"].isna().all()
    assert own.obs["c2s_finish_reason"].isna().all()
    # The answers are as they are without them, and no table counts the others.
    (tmp_path / "without").mkdir()
    _, alone, alone_obs, _ = run(tmp_path / "without", "e")
    answers = predicted[~marked]
    assert (answers.X != alone.X).nnz == 0
    assert (answers.layers["counts"] != alone.layers["counts"]).nnz == 0
    pd.testing.assert_frame_equal(
        answers.obs.drop(columns="c2s_measured_control"), alone.obs, check_categorical=False
    )
    assert len(predicted_only(obs)) == 6
    pd.testing.assert_frame_equal(summarise(obs), summarise(alone_obs), check_categorical=False)


def test_a_perturbation_that_is_called_control_is_not_mixed_with_them(tmp_path):
    sample = qc_file(tmp_path)
    merged = merge_samples([sample], tmp_path / "c2s.h5ad", {})
    write_shard(tmp_path / "0.parquet", [("cell0", "control", "G1 G2", 0)])
    shard = Predicted(tmp_path / "0.parquet", 1, {"G1": 1, "G2": 2}, merged.obs.index)
    merge_predictions(
        [shard], merged.obs, pd.DataFrame(index=GENES), FIT, tmp_path / "p.h5ad", {},
        source=tmp_path / "c2s.h5ad", controls=True,
    )  # fmt: skip
    found = ad.read_h5ad(tmp_path / "p.h5ad").obs
    assert found["c2s_condition"].tolist() == ["control", "control_2"]
