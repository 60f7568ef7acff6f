"""Merging: every cell once, in order, with its own embedding; anything else is an error."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.common.files import unreadable
from c2sflow.data.concat import concat_obs
from c2sflow.results import copying
from c2sflow.results.merge import merge_samples, unique_names
from c2sflow.results.shards import Sample


def make_sample(folder, name, n_obs, genes, sizes, seed=0, prefix="", **obs):
    """QC's file of a sample and its shards; an embedding holds its cell's number."""
    rng = np.random.default_rng(seed)
    matrix = sparse.random(n_obs, len(genes), 0.3, "csr", np.float32, rng=rng)
    cells = pd.Index([f"{prefix}cell{n}" for n in range(n_obs)])
    frame = pd.DataFrame({"sample": pd.Categorical([name] * n_obs), **obs}, index=cells)
    counts = matrix.copy()
    counts.data = np.ceil(counts.data * 10)
    adata = ad.AnnData(
        matrix, obs=frame, var=pd.DataFrame(index=genes), layers={"counts": counts},
        obsm={"X_pca": rng.normal(size=(n_obs, 3))},
    )  # fmt: skip
    adata.write_h5ad(folder / f"{name}.h5ad")
    paths, start = [], 0
    for number, size in enumerate(sizes):
        rows = np.arange(start, start + size)
        shard = pd.DataFrame({"c2s_n_genes": rows.astype(np.int32)}, index=cells[rows])
        vectors = np.stack([rows, rows + seed], axis=1).astype(np.float32)
        paths.append(folder / f"{name}.{number:05d}.embedding.h5ad")
        ad.AnnData(obs=shard, obsm={"X_c2s": vectors}).write_h5ad(paths[-1])
        start += size
    return Sample(name, name, folder / f"{name}.h5ad", paths), adata


@settings(max_examples=10)
@given(
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    block=st.integers(1, 70),
)
def test_equals_anndata_concat(tmp_path_factory, cuts, block):
    folder = tmp_path_factory.mktemp("merge")
    one, a = make_sample(folder, "a", sum(cuts), ["G1", "G2", "G3"], cuts, seed=1, prefix="a_")
    two, b = make_sample(folder, "b", 20, ["G4", "G2"], [20], seed=2, prefix="b_")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "BLOCK", block)
        merge_samples([one, two], folder / "c2s.h5ad", {"version": "x"})
    merged = ad.read_h5ad(folder / "c2s.h5ad")
    expected = ad.concat([a, b], join="outer", fill_value=0)[:, merged.var_names]
    assert list(merged.var_names) == ["G1", "G2", "G3", "G4"]
    assert list(merged.obs_names) == list(expected.obs_names)
    for found, wanted in [
        (merged.X, expected.X),
        (merged.layers["counts"], expected.layers["counts"]),
    ]:
        assert np.array_equal(found.toarray(), sparse.csr_matrix(wanted).toarray())
    assert np.array_equal(merged.obsm["X_pca"], expected.obsm["X_pca"])
    numbers = [*range(sum(cuts)), *range(20)]
    assert merged.obsm["X_c2s"][:, 0].tolist() == numbers
    assert merged.obs["c2s_n_genes"].tolist() == numbers
    assert merged.uns["log1p"]["base"] == 10
    assert merged.uns["c2s"]["version"] == "x"


def test_names_shared_by_samples_get_the_sample(tmp_path):
    samples = [make_sample(tmp_path, name, 5, ["G"], [5])[0] for name in ("a", "b")]
    merge_samples(samples, tmp_path / "c2s.h5ad", {})
    merged = ad.read_h5ad(tmp_path / "c2s.h5ad")
    assert list(merged.obs_names[:2]) == ["cell0-a", "cell1-a"]
    assert merged.obs_names.is_unique


def rewrite(path, index):
    shard = ad.read_h5ad(path)
    shard.obs_names = index
    shard.write_h5ad(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda paths: paths[1].unlink(), "missing or broken"),
        (lambda paths: paths[1].write_bytes(paths[1].read_bytes()[:900]), "missing or broken"),
        (lambda paths: paths.pop(), "3 cells have no embedding, the first is 'cell6'"),
        (lambda paths: paths.append(paths[-1]), "doubled or out of order"),
        (lambda paths: paths.reverse(), "out of order"),
        (lambda paths: rewrite(paths[0], ["cell0", "cell1", "x"]), "another sample, such as 'x'"),
        (lambda paths: rewrite(paths[0], ["cell0", "cell0", "cell1"]), "twice, such as 'cell0'"),
    ],
)
def test_shards_that_do_not_fit_leave_nothing(tmp_path, spoil, message):
    sample, _ = make_sample(tmp_path, "a", 9, ["G1", "G2"], [3, 3, 3])
    spoil(sample.embeddings)
    # As in a task, which sees the files by links: the message names those of the work folder.
    (tmp_path / "task").mkdir()
    for number, path in enumerate(sample.embeddings):
        sample.embeddings[number] = tmp_path / "task" / path.name
        if not sample.embeddings[number].is_symlink():
            sample.embeddings[number].symlink_to(path)
    with pytest.raises(UserError, match=message) as caught:
        merge_samples([sample], tmp_path / "out" / "c2s.h5ad", {})
    named = re.search("delete (.*) and run again with -resume", str(caught.value))
    assert bool(named) == ("have no embedding" not in message)
    assert not named or Path(named[1]).parent == tmp_path
    assert list(tmp_path.glob("out/*")) == []


def test_what_not_every_sample_has_is_left_out_and_said(tmp_path, caplog):
    one, _ = make_sample(tmp_path, "a", 4, ["G"], [4])
    two, _ = make_sample(tmp_path, "b", 4, ["G"], [4], prefix="b")
    with h5py.File(two.path, "a") as file:
        del file["layers/counts"], file["obsm/X_pca"]
    merge_samples([one, two], tmp_path / "c2s.h5ad", {})
    merged = ad.read_h5ad(tmp_path / "c2s.h5ad")
    assert not merged.layers
    assert list(merged.obsm) == ["X_c2s"]
    assert "counts" in caplog.text
    assert "X_pca" in caplog.text


def test_columns_of_every_type_survive(tmp_path):
    frames = {
        "a": {
            "label": pd.Categorical(["x", "y"], ["y", "x"]),
            "text": ["p", "q"],
            "number": [1.5, np.nan],
            "whole": [1, 2],
            "flag": [True, False],
            "nullable": pd.array([1, None], dtype="Int64"),
            "ünï code": ["ä", "ö"],
        },
        "b": {"label": pd.Categorical(["z", None]), "whole": [3, 4]},
    }
    samples = [
        make_sample(tmp_path, name, 2, ["G"], [2], prefix=name, **obs)[0]
        for name, obs in frames.items()
    ]
    merge_samples(samples, tmp_path / "c2s.h5ad", {})
    obs = ad.read_h5ad(tmp_path / "c2s.h5ad").obs
    assert obs["label"].astype(object).where(obs["label"].notna(), None).tolist() == [
        "x",
        "y",
        "z",
        None,
    ]
    assert obs["text"].astype(object).tolist()[:2] == ["p", "q"]
    assert obs["text"].isna().tolist() == [False, False, True, True]
    assert obs["number"].tolist()[0] == 1.5
    assert obs["whole"].tolist() == [1, 2, 3, 4]
    assert obs["flag"].tolist()[:2] == [True, False]
    assert obs["flag"].isna().sum() == 2
    assert obs["nullable"].tolist()[0] == 1
    assert obs["ünï code"].astype(object).tolist()[:2] == ["ä", "ö"]


def test_ordered_categories_stay_ordered():
    frames = [
        pd.DataFrame({"c": pd.Categorical(["lo"], ["lo", "hi"], ordered=True)}, index=[name])
        for name in ("a", "b")
    ]
    assert concat_obs(frames)["c"].cat.ordered


def test_names_as_they_are_when_unique():
    names, notices = unique_names([pd.Index(["a"]), pd.Index(["b"])], ["s", "t"])
    assert list(names) == ["a", "b"]
    assert not notices


def test_names_that_repeat_with_their_sample_too_are_numbered():
    index = [pd.Index(["c", "c-b"]), pd.Index(["c"]), pd.Index(["c", "d"])]
    names, notices = unique_names(index, ["a", "b-a", "x"])
    assert names.is_unique
    assert list(names) == ["c-a", "c-b-a", "c-b-a-1", "c-x", "d-x"]
    assert "1 cells have the name of another all the same: numbered" in notices


@pytest.mark.parametrize("n_samples", [1, 2])
def test_what_an_earlier_run_made_gives_way(tmp_path, n_samples):
    samples = []
    for name in "ab"[:n_samples]:
        sample, cells = make_sample(tmp_path, name, 5, ["G"], [2, 3], c2s_n_genes=np.full(5, 99))
        cells.obsm["X_c2s"], cells.obsm["X_table"] = np.full((5, 2), 7.0), cells.obs[["sample"]]
        cells.write_h5ad(sample.path)
        samples.append(sample)
    merge_samples(samples, tmp_path / "c2s.h5ad", {})
    merged = ad.read_h5ad(tmp_path / "c2s.h5ad")
    assert merged.obs["c2s_n_genes"].tolist() == [0, 1, 2, 3, 4] * n_samples
    assert merged.obsm["X_c2s"][:, 0].tolist() == [0, 1, 2, 3, 4] * n_samples
    assert ("X_table" in merged.obsm) == (n_samples == 1)


@pytest.mark.parametrize("n_samples", [1, 2])
def test_text_in_obsm_is_kept_of_one_sample_and_named_of_several(tmp_path, n_samples):
    samples, words = [], np.array([["a", "é"]] * 5, dtype=object)
    for name in "ab"[:n_samples]:
        sample, cells = make_sample(tmp_path, name, 5, ["G"], [5])
        cells.obsm["words"], cells.obsm["flags"] = words, words == "a"
        cells.write_h5ad(sample.path)
        samples.append(sample)
    notices = merge_samples(samples, tmp_path / "c2s.h5ad", {}).notices
    merged = ad.read_h5ad(tmp_path / "c2s.h5ad")
    assert merged.obsm["flags"].tolist() == [[True, False]] * 5 * n_samples
    if n_samples == 1:
        assert np.asarray(merged.obsm["words"]).tolist() == words.tolist()
    else:
        assert "words" not in merged.obsm
        assert "obsm words: not the same in every sample, left out" in notices


def test_a_single_sample_is_what_qc_wrote(tmp_path):
    sample, cells = make_sample(tmp_path, "a", 9, ["G1", "G2", "G3"], [4, 5])
    merge_samples([sample], tmp_path / "c2s.h5ad", {})
    merged = ad.read_h5ad(tmp_path / "c2s.h5ad")
    for found, wanted in [(merged.X, cells.X), (merged.layers["counts"], cells.layers["counts"])]:
        assert np.array_equal(found.toarray(), wanted.toarray())
    assert np.array_equal(merged.obsm["X_pca"], cells.obsm["X_pca"])
    pd.testing.assert_frame_equal(merged.obs[["sample"]], cells.obs)
    assert list(merged.var_names) == ["G1", "G2", "G3"]


def annotated(sample, adata, sizes):
    """Gives the sample cell types: of the cell's number, missing for each seventh."""
    table = pd.DataFrame({"cell_id": adata.obs_names})
    table["c2s_cell_type"] = [None if n % 7 == 0 else f"T{n % 3}" for n in range(len(table))]
    table["c2s_cell_type_probability"] = np.linspace(0, 1, len(table), dtype=np.float32)
    table["c2s_cell_type_status"] = ["empty" if n % 7 == 0 else "ok" for n in range(len(table))]
    start = 0
    for number, size in enumerate(sizes):
        path = sample.path.with_name(f"{sample.id}.{number:05d}.annotation.parquet")
        table[start : (start := start + size)].to_parquet(path, index=False)
        sample.annotations.append(path)
    return table


def test_cell_types_find_their_cells(tmp_path):
    one, a = make_sample(tmp_path, "a", 20, ["G1"], [12, 8], prefix="a_")
    two, b = make_sample(tmp_path, "b", 5, ["G1"], [5], prefix="b_", c2s_cell_type=["old"] * 5)
    said = pd.concat([annotated(one, a, [12, 8]), annotated(two, b, [5])]).set_index("cell_id")
    merge_samples([one, two], tmp_path / "c2s.h5ad", {})
    obs = ad.read_h5ad(tmp_path / "c2s.h5ad").obs
    found = obs["c2s_cell_type"].astype(object).where(obs["c2s_cell_type"].notna(), None)
    expected = said["c2s_cell_type"].astype(object)
    assert found.tolist() == expected.where(expected.notna(), None).tolist()
    assert set(obs["c2s_cell_type"].cat.categories) == {"T0", "T1", "T2"}
    assert obs["c2s_cell_type_probability"].dtype == np.float32
    assert obs["c2s_cell_type_status"].tolist() == said["c2s_cell_type_status"].tolist()
    assert obs["c2s_cell_type_probability"].tolist() == said["c2s_cell_type_probability"].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda paths: paths.reverse(), "out of order"),
        (lambda paths: paths.pop(), "out of order"),
        (lambda paths: paths.append(paths[0]), "holds cells twice"),
        (lambda paths: paths[0].write_bytes(b"PAR1"), r"a\.00000\.annotation\.parquet is missing"),
        (lambda paths: paths[1].unlink(), r"a\.00001\.annotation\.parquet is missing"),
    ],
)
def test_cell_types_of_other_cells_are_refused(tmp_path, change, message):
    sample, adata = make_sample(tmp_path, "a", 20, ["G1"], [12, 8])
    annotated(sample, adata, [12, 8])
    change(sample.annotations)
    with pytest.raises(UserError, match=message):
        merge_samples([sample], tmp_path / "c2s.h5ad", {})
    assert not (tmp_path / "c2s.h5ad").exists()


def test_notices_are_returned(tmp_path):
    one, _ = make_sample(tmp_path, "a", 4, ["G"], [4])
    two, _ = make_sample(tmp_path, "b", 4, ["G"], [4])
    with h5py.File(two.path, "a") as file:
        del file["layers/counts"], file["obsm/X_pca"]
    notices = merge_samples([one, two], tmp_path / "c2s.h5ad", {}).notices
    assert notices == [
        "samples share cell names: '-<sample>' is appended to each",
        "layers counts: not the same in every sample, left out",
        "obsm X_pca: not the same in every sample, left out",
    ]


def test_var_keeps_what_is_the_same_for_each_gene(tmp_path):
    samples = []
    variables = [
        pd.DataFrame({"chr": ["1", "2"], "n": [1, 2], "own": 1}, index=["A", "B"]),
        pd.DataFrame({"n": [2, 3], "chr": ["2", "X"]}, index=["B", "C"]),
        pd.DataFrame({"n": [3, 9], "chr": ["X", "1"]}, index=["C", "A"]),
    ]
    for name, var in zip("abc", variables, strict=True):
        sample, adata = make_sample(tmp_path, name, 3, list(var.index), [3], prefix=name)
        adata.var = var
        adata.write_h5ad(sample.path)
        samples.append(sample)
    notices = merge_samples(samples, tmp_path / "c2s.h5ad", {}).notices
    var = ad.read_h5ad(tmp_path / "c2s.h5ad").var
    assert list(var.columns) == ["chr"]
    assert var["chr"].tolist() == ["1", "2", "X"]
    assert notices == ["var n, own: not the same in every sample, left out"]


FEW_FILES = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
from c2sflow.results.merge import merge_samples
from c2sflow.results.shards import Sample
folder = Path(sys.argv[1])
names = [f"s{n}" for n in range(60)]
shards = {name: [folder / f"{name}.00000.embedding.h5ad"] for name in names}
samples = [Sample(name, name, folder / f"{name}.h5ad", shards[name]) for name in names]
print(merge_samples(samples, folder / "c2s.h5ad", {}).obs.shape[0])
"""


def test_more_samples_than_files_may_be_open(tmp_path):
    for n in range(60):
        make_sample(tmp_path, f"s{n}", 3, ["G1", "G2"], [3], seed=n, prefix=f"{n}_")
    (tmp_path / "few.py").write_text(FEW_FILES)
    command = [sys.executable, tmp_path / "few.py", tmp_path]
    path = os.pathsep.join(sys.path)
    made = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=False
    )
    assert made.stdout == "180\n", made.stderr
    assert ad.read_h5ad(tmp_path / "c2s.h5ad").n_obs == 180


def test_a_file_that_the_system_does_not_open_is_not_blamed(tmp_path):
    error = OSError(errno.EMFILE, "Too many open files")
    message = str(unreadable(tmp_path / "donor0250.h5ad", error))
    assert "ulimit -n" in message
    assert "delete" not in message
    assert "delete" in str(unreadable(tmp_path / "a.h5ad", OSError("file signature not found")))
