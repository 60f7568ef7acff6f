"""c2s.zarr: what c2s.h5ad holds, element by element, however the processes share the cells."""

import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import read_elem, sparse_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.common.opened import open_result
from c2sflow.data import zarr_store
from c2sflow.data.result_cells import open_cells
from c2sflow.data.stored import read_element
from c2sflow.report.map import read_map
from c2sflow.report.markers import read_markers
from c2sflow.results import copying, zarr_matrices
from c2sflow.results.group_means import mean_expression
from c2sflow.results.merge import merge_samples
from c2sflow.results.shards import Sample

UNS = {"version": "x", "seed": 1, "empty": {}, "list": ["a", "b"]}


def write_sample(folder, name, n_cells, genes, random, stored_zeros=False):
    """QC's file of a sample, in two shards where there are cells for two."""
    matrix = sparse.random(n_cells, len(genes), 0.4, "csr", np.float32, rng=random)
    if stored_zeros and matrix.nnz:
        matrix.data[0] = 0
    counts = sparse.random(n_cells, len(genes), 0.2, "csr", np.float32, rng=random)
    cells = pd.Index([f"{name}{n}" for n in range(n_cells)])
    obs = pd.DataFrame(
        {"sample": pd.Categorical([name] * n_cells), "n": np.arange(n_cells), "text": name},
        index=cells,
    )
    antibodies = sparse.random(n_cells, 3, 0.5, "csr", np.float32, rng=random)
    adata = ad.AnnData(
        matrix, obs, pd.DataFrame({"length": [len(gene) for gene in genes]}, index=genes),
        layers={"counts": counts}, uns={"c2s_features": {"antibodies": ["A1", "A2", name]}},
        obsm={"X_pca": random.normal(size=(n_cells, 2)), "c2s_antibodies": antibodies},
    )  # fmt: skip
    adata.write_h5ad(folder / f"{name}.h5ad")
    paths = []
    for number, rows in enumerate(np.array_split(np.arange(n_cells), min(2, n_cells))):
        shard = pd.DataFrame({"c2s_n_genes": rows.astype(np.int32)}, index=cells[rows])
        paths.append(folder / f"{name}.{number:05d}.embedding.h5ad")
        vectors = random.normal(size=(len(rows), 3)).astype(np.float32)
        ad.AnnData(obs=shard, obsm={"X_c2s": vectors}).write_h5ad(paths[-1])
    return Sample(name, name, folder / f"{name}.h5ad", paths)


def check_same(one, other, path=""):
    """Every element of two open files, its type and its encoding."""
    assert dict(one.attrs).get("encoding-type") == dict(other.attrs).get("encoding-type"), path
    encoding = one.attrs.get("encoding-type", "dict")
    if encoding in ("anndata", "dict"):
        assert set(one.keys()) == set(other.keys()), path
        for key in one:
            check_same(one[key], other[key], f"{path}/{key}")
        return
    found, expected = read_element(one), read_elem(other)
    if encoding == "dataframe":
        pd.testing.assert_frame_equal(found, expected)
    elif encoding == "csr_matrix":
        assert found.shape == expected.shape
        for name in ("data", "indices", "indptr"):
            part = one[name][:], other[name][:]
            assert part[0].dtype == part[1].dtype, path
            np.testing.assert_array_equal(*part, err_msg=path)
    else:
        assert np.asarray(found).dtype.kind == np.asarray(expected).dtype.kind, path
        np.testing.assert_array_equal(found, expected, err_msg=path)


def merged_both_ways(samples, folder, **options):
    both = []
    for name in ("c2s.h5ad", "c2s.zarr"):
        merged = merge_samples(samples, folder / name, UNS, **options)
        both.append((merged.notices, merged.obs))
    assert both[0][0] == both[1][0]
    with h5py.File(folder / "c2s.h5ad") as file, open_result(folder / "c2s.zarr") as store:
        check_same(store, file)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@settings(max_examples=12)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    chunk=st.integers(1, 40),
    block=st.integers(1, 12),
    n_cores=st.sampled_from(["1", "2"]),
    base=st.sampled_from([10, "e"]),
    large=st.booleans(),
    seed=st.integers(0, 99),
)
def test_holds_what_the_h5ad_holds(
    tmp_path_factory, sizes, chunk, block, n_cores, base, large, seed
):
    folder, random = tmp_path_factory.mktemp("zarr"), np.random.default_rng(seed)
    every = [f"G{n}" for n in range(8)]
    samples = []
    for number, size in enumerate(sizes):
        genes = [*random.permutation(every)[: random.integers(2, 8)]]
        samples.append(
            write_sample(folder, f"s{number}_", size, genes, random, stored_zeros=number == 1)
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_store, "CHUNK", chunk)
        patch.setattr(zarr_store, "CHUNK_BYTES", 8 * chunk)
        for module in (copying, zarr_matrices):
            patch.setattr(module, "BLOCK", block)
        patch.setenv("OMP_NUM_THREADS", n_cores)
        if large:  # int64 from the first value on
            patch.setattr(zarr_store, "MOST_INT32", 0)
            patch.setattr("c2sflow.data.h5ad.MOST_INT32", 0)
        merged_both_ways(samples, folder, base=base)


@pytest.mark.parametrize("n_samples", [1, 2])
def test_a_stored_umap_and_a_table_in_obsm(tmp_path, n_samples):
    random = np.random.default_rng(0)
    samples = []
    for number in range(n_samples):
        sample = write_sample(tmp_path, f"s{number}_", 30, ["G1", "G2"], random)
        adata = ad.read_h5ad(sample.path)
        adata.obsm["table"] = pd.DataFrame({"t": ["x"] * 30}, index=adata.obs_names)
        adata.obsm["X_c2s"] = np.ones((30, 7))  # of an earlier run
        adata.write_h5ad(sample.path)
        samples.append(sample)
    merged_both_ways(samples, tmp_path, store_umap=True)
    store = zarr.open_group(tmp_path / "c2s.zarr", mode="r")
    assert ("table" in store["obsm"]) == (n_samples == 1)
    assert store["obsm/X_c2s"].shape == (30 * n_samples, 3)


def test_is_read_by_anndata_as_a_whole_and_in_parts(tmp_path):
    random = np.random.default_rng(0)
    samples = [write_sample(tmp_path, name, 40, ["G1", "G2", "G3"], random) for name in "ab"]
    merge_samples(samples, tmp_path / "c2s.h5ad", UNS)
    merge_samples(samples, tmp_path / "c2s.zarr", UNS)
    expected = ad.read_h5ad(tmp_path / "c2s.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ad.read_zarr(tmp_path / "c2s.zarr")
    assert (found.X != expected.X).nnz == 0
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    store = zarr.open_consolidated(tmp_path / "c2s.zarr", mode="r")
    rows = np.array([3, 50, 51])
    assert (sparse_dataset(store["X"])[rows] != expected.X[rows]).nnz == 0


def test_is_read_by_our_steps_as_the_h5ad_is(tmp_path):
    random = np.random.default_rng(0)
    samples = [write_sample(tmp_path, name, 40, ["G1", "G2", "G3"], random) for name in "ab"]
    found = {}
    for name in ("c2s.h5ad", "c2s.zarr"):
        merge_samples(samples, tmp_path / name, UNS)
        rows = np.array([77, 3, 3, 41])
        with open_cells(tmp_path / name) as cells:
            read = [cells.expression(rows).toarray(), cells.counts(rows).toarray()]
            read += [cells.vectors(rows), cells.depths(rows)]
        with open_result(tmp_path / name) as file:
            shown = read_map(file, ["sample"])
            groups = shown.obs["sample"].astype("category")
            read += [shown.coordinates, read_markers(file, shown.rows, groups).to_numpy()]
            means = mean_expression(file["X"], np.arange(80) // 7, 12)
            read += [block.toarray() for block in means]
        found[name] = read
    for one, other in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A shard whose vectors break after it was checked: found by a process that writes a part."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    random = np.random.default_rng(0)
    samples = [write_sample(tmp_path, name, 9, ["G1", "G2"], random) for name in "abc"]
    target = tmp_path / "out/c2s.zarr"
    merge_samples(samples, target, UNS)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    survey, shard = copying.read_vectors, samples[1].embeddings[1]

    def breaks(sample):
        if sample is not samples[0] and shard.stat().st_size > 900:
            shard.write_bytes(shard.read_bytes()[:900])
        return survey(sample)

    monkeypatch.setattr(copying, "read_vectors", breaks)
    with pytest.raises(UserError, match=f"sample b: shard {shard.name} is missing or broken"):
        merge_samples(samples, target, UNS)
    assert [path.name for path in target.parent.iterdir()] == ["c2s.zarr"]
    assert before == {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}


def test_a_second_result_takes_the_place_of_the_first(tmp_path):
    random = np.random.default_rng(0)
    samples = [write_sample(tmp_path, name, 9, ["G1", "G2"], random) for name in "abc"]
    for some in (samples, samples[:1]):
        merge_samples(some, tmp_path / "out/c2s.zarr", UNS)
    assert ad.read_zarr(tmp_path / "out/c2s.zarr").n_obs == 9
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c2s.zarr"]
