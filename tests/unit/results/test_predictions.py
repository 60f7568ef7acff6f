"""Predicted cells: sentences back to expression, names, and figures by perturbation."""

import tracemalloc

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from c2sflow.common.errors import UserError
from c2sflow.inputs.perturbations import RESERVED
from c2sflow.results import answers as merged_answers
from c2sflow.results.predictions import (
    SHARD_COLUMNS,
    Predicted,
    merge_predictions,
    prediction_names,
    summarise,
)
from c2sflow.sentences.no_ops import COMPARED_WITH, MEASURED, NO_OP

FIT = {"slope": -0.5, "intercept": 2.0}


def controls(names, **columns):
    """obs of c2s.h5ad: cells of these names."""
    return pd.DataFrame({"sample": pd.Categorical(["s 1"] * len(names)), **columns}, index=names)


def write_shard(path, rows):
    frame = pd.DataFrame(
        {
            "source_cell": [r[0] for r in rows],
            "condition": [r[1] for r in rows],
            "perturbation": [r[1].split(", ")[0] for r in rows],
            "dose": [r[1].partition(", ")[2] or None for r in rows],
            "note": None,
            "sample": "s 1",
            "organism": "human",
            "sample_index": np.int32(0),
            "c2s_sentence": [r[2] for r in rows],
            "c2s_n_predicted_genes": [len(r[2].split()) for r in rows],
            "c2s_invalid_genes": [r[3] for r in rows],
            "c2s_duplicate_genes": 1,
            "c2s_finish_reason": ["length" if r[3] else "eos" for r in rows],
            "c2s_log_likelihood": -1.5,
            "c2s_truncated": False,
        }
    )
    vectors = np.arange(2 * len(rows), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors), 2)
    table = pa.Table.from_pandas(frame, preserve_index=False).append_column("X_c2s", column)
    pq.write_table(table, path)


@pytest.fixture
def merged(tmp_path):
    write_shard(tmp_path / "0.parquet", [("c1", "IFN 'β'", "B A", 0), ("c1", "KO", "", 2)])
    write_shard(tmp_path / "1.parquet", [("c2", "KO, 2 µM", "A", 0), ("c2", "KO, 2 µM", "A B", 0)])
    columns = {"A": 2, "B": 0}
    # c1 is renamed when the samples are merged; another sample's cells come first.
    own = pd.Index(["c0", "c1", "c2"])
    shards = [Predicted(tmp_path / f"{n}.parquet", 2, columns, own, 2) for n in (0, 1)]
    cells = controls(["c1-s 0", "c2-s 0", "c0", "c1-s 1", "c2"])
    var = pd.DataFrame(index=["b", "x", "a"])
    target = tmp_path / "c2s_perturbed.h5ad"
    obs, _ = merge_predictions(shards, cells, var, FIT, target, {"seed": 1})
    return obs, ad.read_h5ad(target)


def test_expression_and_embedding(merged):
    _, adata = merged
    second = 2.0 - 0.5 * np.log10(2)
    expected = [[2.0, 0, second], [0, 0, 0], [0, 0, 2.0], [second, 0, 2.0]]
    np.testing.assert_allclose(adata.X.toarray(), expected, rtol=1e-6)
    assert adata.obsm["X_c2s"].tolist() == [[0, 1], [2, 3], [0, 1], [2, 3]]
    assert adata.uns["c2s"]["seed"] == 1


def test_names_are_unique_and_sources_those_of_the_merged_file(merged):
    obs, adata = merged
    assert list(adata.obs_names) == [
        "c1-s 1|IFN 'β'", "c1-s 1|KO", "c2|KO, 2 µM", "c2|KO, 2 µM|1",
    ]  # fmt: skip
    assert obs["c2s_source_cell"].tolist() == ["c1-s 1", "c1-s 1", "c2", "c2"]
    assert prediction_names(obs).is_unique


def test_names_that_a_number_makes_another_s_are_unique():
    obs = pd.DataFrame({"c2s_source_cell": ["a", "a", "a"], "c2s_condition": ["K", "K", "K|1"]})
    assert prediction_names(obs).is_unique


def test_columns_of_the_table_of_perturbations(merged):
    _, adata = merged
    assert adata.obs["c2s_perturbation"].tolist() == ["IFN 'β'", "KO", "KO", "KO"]
    assert adata.obs["c2s_condition"].tolist()[2] == "KO, 2 µM"
    assert adata.obs["c2s_dose"].isna().tolist() == [True, True, False, False]
    assert adata.obs["c2s_dose"].tolist()[2:] == ["2 µM", "2 µM"]
    assert adata.obs["c2s_note"].isna().all()
    # No other column of ours has a name that a user's own may have.
    assert {name for name in adata.obs if not name.startswith("c2s_")} == {"sample"}


def test_columns_of_the_control_cells_come_along(tmp_path):
    """As pandas picks them by name; ours keep their names, those of its own sentence stay away."""
    rows = [("c2", "IFN", "A", 0), ("c0", "KO", "B A", 0), ("c2", "KO", "A B", 1)]
    write_shard(tmp_path / "0.parquet", rows)
    names = ["c0", "c1", "c2"]
    cells = controls(
        names,
        condition=pd.Categorical(["ctrl", "stim", "ctrl"]),
        ordered=pd.Categorical(["low", "high", "mid"], ["low", "mid", "high"], ordered=True),
        dose=[0.5, np.nan, 2.0],
        donor=pd.array([1, None, 3], dtype="Int64"),
        is_kept=[True, False, True],
        text=["β", "b", "c d"],
        c2s_organism=pd.Categorical(["human"] * 3),
        c2s_cell_type=pd.Categorical(["B", "T", None]),
        c2s_condition=pd.Categorical(["of an", "earlier", "run"]),
        input_c2s_condition=[1, 2, 3],
        c2s_truncated=[True, True, True],
        c2s_n_genes=[9, 9, 9],
        c2s_leiden=pd.Categorical(["0", "1", "1"]),
    )
    shards = [Predicted(tmp_path / "0.parquet", 3, {"A": 0, "B": 1}, pd.Index(names))]
    target = tmp_path / "c2s_perturbed.h5ad"
    var = pd.DataFrame(index=["A", "B"])
    _, notices = merge_predictions(shards, cells, var, FIT, target, {})
    assert notices == [
        "c2s_perturbed.h5ad: obs['c2s_condition'] of the control cells is kept as "
        "obs['input_c2s_condition_2']"
    ]
    found = ad.read_h5ad(target).obs
    assert found["c2s_condition"].tolist() == ["IFN", "KO", "KO"]
    assert found["c2s_truncated"].tolist() == [False] * 3
    assert not {"c2s_n_genes", "c2s_leiden"} & set(found)
    renamed = {"c2s_condition": "input_c2s_condition_2"}
    kept = cells.drop(columns=["c2s_truncated", "c2s_n_genes", "c2s_leiden"])
    whole = ad.AnnData(obs=kept)[["c2", "c0", "c2"]].copy()
    whole.obs_names = found.index
    whole.write_h5ad(tmp_path / "expected.h5ad")
    expected = ad.read_h5ad(tmp_path / "expected.h5ad").obs.rename(columns=renamed)
    text = pd.Series(["a"]).dtype  # AnnData makes a category of it
    expected["text"] = expected["text"].astype(object).astype(text)
    pd.testing.assert_frame_equal(found[list(expected)], expected)
    assert list(found)[: expected.shape[1]] == list(expected)  # theirs first, then ours


def test_summary(merged):
    table = summarise(merged[0]).set_index("condition")
    assert list(table.columns[:3]) == ["perturbation", "dose", "sample"]
    assert table["n_predictions"].to_dict() == {"IFN 'β'": 1, "KO": 1, "KO, 2 µM": 2}
    assert table.loc["KO, 2 µM", "n_genes_mean"] == 1.5
    assert table.loc["KO", "invalid_fraction"] == pytest.approx(2 / 3)
    assert table.loc["KO", "duplicate_fraction"] == pytest.approx(1 / 3)
    assert table.loc["KO, 2 µM", "duplicate_fraction"] == pytest.approx(2 / 5)
    assert table["truncated_fraction"].to_dict() == {"IFN 'β'": 0, "KO": 1, "KO, 2 µM": 0}
    assert table.loc["KO, 2 µM", "dose"] == "2 µM"


def test_broken_shard(tmp_path):
    (tmp_path / "0.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="missing or broken"):
        merge_predictions(
            [Predicted(tmp_path / "0.parquet", 1, {}, pd.Index([]))],
            controls(["c1"]),
            pd.DataFrame(index=["a"]),
            FIT,
            tmp_path / "p.h5ad",
            {},
        )
    assert not (tmp_path / "p.h5ad").exists()


def test_missing_predictions(tmp_path):
    write_shard(tmp_path / "0.parquet", [("c1", "KO", "A", 0)])
    with pytest.raises(UserError, match="1 predictions instead of 2 planned"):
        merge_predictions(
            [Predicted(tmp_path / "0.parquet", 1, {"A": 0}, pd.Index(["c1"]))],
            controls(["c1"]), pd.DataFrame(index=["a"]), FIT, tmp_path / "p.h5ad", {}, n_each=2,
        )  # fmt: skip
    assert not (tmp_path / "p.h5ad").exists()


def test_cells_of_another_sample(tmp_path):
    write_shard(tmp_path / "0.parquet", [("c1", "KO", "A", 0)])
    shard = Predicted(tmp_path / "0.parquet", 1, {"A": 0}, pd.Index(["x1"]))
    var = pd.DataFrame(index=["a"])
    with pytest.raises(UserError, match="no cell is named 'c1'"):
        merge_predictions([shard], controls(["x1"]), var, FIT, tmp_path / "p.h5ad", {})
    assert not (tmp_path / "p.h5ad").exists()


def test_a_table_of_perturbations_takes_none_of_our_names():
    """A column of it gets our prefix, too."""
    names = {name.removeprefix("c2s_") for name in (*SHARD_COLUMNS, NO_OP, COMPARED_WITH, MEASURED)}
    assert names - {"perturbation"} <= RESERVED


def test_blocks_give_the_frame_that_pandas_does(tmp_path, monkeypatch):
    """Cells of several files, one of them empty, are as one frame read and written whole."""
    monkeypatch.setattr(merged_answers, "BLOCK", 3)
    rng = np.random.default_rng(0)
    conditions = ["z µ", "a, 1", "IFN 'β'"]
    paths, sizes = [tmp_path / f"{n}.parquet" for n in range(4)], [7, 3, 0, 5]
    for path, size in zip(paths, sizes, strict=True):
        drawn = rng.integers(0, 3, (size, 3))
        said = [" ".join(rng.permutation(["A", "B", "C"])[: row[1]]) for row in drawn]
        names = [f"c{row[0]}" for row in drawn]
        rows = [(names[n], conditions[drawn[n, 2]], said[n], n % 2) for n in range(size)]
        write_shard(path, rows)
    target = tmp_path / "c2s_perturbed.h5ad"
    words = {"A": 0, "B": 1, "C": 2}
    var = pd.DataFrame(index=list(words))
    own = pd.Index(["c0", "c1", "c2"])
    shards = [Predicted(path, n, words, own) for path, n in zip(paths, sizes, strict=True)]
    obs, _ = merge_predictions(shards, controls(own), var, FIT, target, {})

    whole = pd.concat(
        [pd.read_parquet(path) for path, size in zip(paths, sizes, strict=True) if size]
    )
    vectors = np.stack(whole.pop("X_c2s"))
    whole = whole[
        ["sample", *merged_answers.present(SHARD_COLUMNS, whole.columns), "dose", "note"]
    ].set_axis(range(len(whole)))
    own = {"source_cell", "condition", "perturbation", "dose", "note"}
    whole = whole.rename(columns={name: f"c2s_{name}" for name in own})
    names = whole["c2s_source_cell"] + "|" + whole["c2s_condition"]
    number = names.groupby(names).cumcount()
    whole.index = [f"{a}|{n}" if n else a for a, n in zip(names, number, strict=True)]
    for name in ("c2s_condition", "c2s_perturbation", "sample", "c2s_finish_reason"):
        whole[name] = whole[name].astype("category")
    for name in ("c2s_dose", "c2s_note"):
        whole[name] = whole[name].astype("string").astype("category")
    ad.AnnData(obs=whole).write_h5ad(tmp_path / "whole.h5ad")
    merged, expected = ad.read_h5ad(target), ad.read_h5ad(tmp_path / "whole.h5ad").obs
    text = pd.Series(["a"]).dtype  # object, or pandas 3's str
    for name in ("c2s_source_cell", "c2s_sentence"):  # of which AnnData makes categories
        expected[name] = expected[name].astype(object).astype(text)
    pd.testing.assert_frame_equal(merged.obs, expected)
    whole.index = whole.index.astype(obs.index.dtype)
    source = "c2s_source_cell"
    whole[source] = whole[source].astype(obs[source].dtype)
    pd.testing.assert_frame_equal(
        obs[[*whole.columns.drop("c2s_sentence")]], whole.drop(columns="c2s_sentence")
    )
    assert np.array_equal(merged.obsm["X_c2s"], vectors)
    n_genes = [len(text.split()) for text in merged.obs["c2s_sentence"]]
    assert np.array_equal(np.diff(merged.X.indptr), n_genes)


def test_memory_does_not_hold_the_sentences(tmp_path, monkeypatch):
    """A further cell takes 0.5 kB at most; its sentence alone has 1.6 kB.

    Nor the columns of the control cells: 200 of them would be as much.
    """
    cells = controls(["cell"], **{f"column {n}": [float(n)] for n in range(200)})
    monkeypatch.setattr(merged_answers, "BLOCK", 100)
    words = {f"GENE{n:03d}": n for n in range(200)}
    text = " ".join(words)
    write_shard(tmp_path / "0.parquet", [("cell", "KO", text, 0)] * 300)
    var = pd.DataFrame(index=list(words))

    def peak(n_files):
        shards = [Predicted(tmp_path / "0.parquet", 300, words, pd.Index(["cell"]))] * n_files
        tracemalloc.start()
        merge_predictions(shards, cells, var, FIT, tmp_path / "p.h5ad", {})
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)  # what is imported and kept once
    assert (peak(12) - peak(2)) / (10 * 300) < 500
