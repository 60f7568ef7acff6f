"""Reading: each format gives the same cells, in chunks of any size, and says what is wrong."""

import tracemalloc

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from making import SYMBOLS, cells, write_input
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data import backed
from c2sflow.data import h5ad as h5ad_writing
from c2sflow.data.h5ad import RowWriter, create_h5ad
from c2sflow.data.readers import open_anndata

KINDS = [
    *("csr-h5ad", "csc-h5ad", "array-h5ad", "dense-h5ad", "int-h5ad", "half-h5ad"),
    *("csr-zarr", "csc-zarr", "dense-zarr"),
    *("10x-h5", "10x-directory", "loom", "csv", "tsv.gz"),
]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_cells(kind, tmp_path):
    expected = cells()
    with open_anndata(write_input(expected, kind, tmp_path)) as data:
        assert (data.n_obs, data.n_vars) == expected.shape
        assert list(data.obs.index) == list(expected.obs_names)
        assert list(data.var_names) == SYMBOLS
        for size in (1, 7, None):
            starts, blocks = zip(*data.chunks(size), strict=True)
            assert all(sparse.isspmatrix_csr(block) for block in blocks)
            assert np.array_equal(sparse.vstack(blocks).toarray(), expected.X.toarray())
            assert list(starts) == list(np.cumsum([0, *(b.shape[0] for b in blocks[:-1])]))


def test_annotation_and_layers(tmp_path):
    expected = cells()
    expected.uns["organism"] = "Mus musculus"
    expected.write_h5ad(tmp_path / "a.h5ad")
    with open_anndata(tmp_path / "a.h5ad") as data:
        pd.testing.assert_frame_equal(data.obs, expected.obs)
        assert data.layers == ["spliced"]
        assert data.recorded("organism") == "Mus musculus"
        assert data.recorded("nothing") is None
        assert np.array_equal(data.obsm()["X_pca"], expected.obsm["X_pca"])
        assert (data.rows(3, 9, "spliced") != expected.layers["spliced"][3:9]).nnz == 0


def test_file_of_an_old_anndata():
    path = f"{sc.datasets.__path__[0]}/10x_pbmc68k_reduced.h5ad"
    with open_anndata(path) as data:
        assert (data.n_obs, data.n_vars) == (700, 765)
        assert data.obs["bulk_labels"].dtype == "category"


def test_rows_are_canonical_and_the_input_is_left_alone():
    matrix = sparse.csr_matrix(
        (np.array([1.0, 2, 0, 4]), np.array([2, 0, 1, 1]), np.array([0, 2, 4])), shape=(2, 3)
    )
    given = ad.AnnData(matrix)
    with open_anndata(given) as data:
        rows = data.rows(0, 2)
    assert rows.nnz == 3
    assert rows.has_sorted_indices
    assert list(given.X.data) == [1, 2, 0, 4]


def test_repeated_names_of_cells_are_made_unique(tmp_path):
    given = cells(4)
    given.obs_names = ["a", "b", "a", "a"]
    given.write_h5ad(tmp_path / "a.h5ad")
    with open_anndata(tmp_path / "a.h5ad") as data:
        assert list(data.obs.index) == ["a", "b", "a-1", "a-2"]
        assert data.duplicate_names == 2


def test_text_keeps_repeated_genes(tmp_path):
    (tmp_path / "bulk.csv").write_text("id,TP53,TP53,MYC\ns1,1,2,3\ns2,0,5,6\n")
    with open_anndata(tmp_path / "bulk.csv") as data:
        assert list(data.var_names) == ["TP53", "TP53", "MYC"]


@pytest.mark.parametrize("kind", ["csr-h5ad", "dense-h5ad", "csr-zarr"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_memory_is_bounded_by_the_chunk(kind, tmp_path):
    whole = np.ones((4000, 1000), dtype=np.float32)
    path = write_input(ad.AnnData(sparse.csr_matrix(whole)), kind, tmp_path)
    tracemalloc.start()
    with open_anndata(path) as data:
        total = sum(block.sum() for _, block in data.chunks(100))
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == whole.size
    assert peak < whole.nbytes / 2


def test_sampled_rows_come_from_the_whole_file():
    matrix = sparse.csr_matrix(np.arange(1, 5001, dtype=float)[:, None])
    with open_anndata(ad.AnnData(matrix)) as data:
        values = data.sample_rows(64, 8).data
    assert len(values) == 64
    assert values.min() == 1
    assert values.max() == 5000


def _damaged(path):
    (path / "x.h5ad").write_bytes(b"this is not HDF5")
    return path / "x.h5ad"


def _truncated(path):
    cells(2000).write_h5ad(path / "x.h5ad")
    content = (path / "x.h5ad").read_bytes()
    (path / "x.h5ad").write_bytes(content[: len(content) // 2])
    return path / "x.h5ad"


def _without_x(path):
    ad.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["B"])).write_h5ad(
        path / "x.h5ad"
    )
    return path / "x.h5ad"


def _no_cells(path):
    cells()[:0].copy().write_h5ad(path / "x.h5ad")
    return path / "x.h5ad"


def _text(name, content):
    def write(path):
        (path / name).write_text(content)
        return path / name

    return write


def _directory(path):
    (path / "folder").mkdir()
    return path / "folder"


def _not_10x(path):
    with h5py.File(path / "x.h5", "w") as file:
        file["a"] = 1
    return path / "x.h5"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "none.h5ad", "no such file"),
        (_damaged, "cannot be read as h5ad"),
        (_truncated, "cannot be read as h5ad"),
        (_without_x, "no X|X is empty"),
        (_no_cells, "no data"),
        (_text("x.rds", "R"), "unknown format; give .h5ad.*write it from R"),
        (_text("x.csv.bz2", ""), "unknown format; .*unpack it"),
        (_text("x.xlsx", ""), "unknown format; .*save the sheet as CSV"),
        (_text("matrix.mtx.gz", ""), "unknown format; .*name the folder"),
        (_directory, "10x matrix directory holds one matrix.mtx"),
        (_not_10x, "cannot be read as 10x HDF5"),
        (_text("x.loom", ""), "cannot be read as loom"),
        (_text("x.csv", ""), "cannot be read as samples × genes"),
        (_text("x.csv", "sample,file\na,b.h5ad\n"), "samplesheet has columns sample and path"),
        (_text("x.tsv", "x\ts1\ts2\nACTB\t5\t6\nXYZ\t1\t0\n"), "call the first column 'gene'"),
    ],
)
def test_what_cannot_be_read_is_said(make, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        open_anndata(make(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("most", [0, 100, 10**9])
def test_written_rows_are_read_back(most, tmp_path, monkeypatch):
    monkeypatch.setattr(h5ad_writing, "MOST_INT32", most)
    monkeypatch.setattr(h5ad_writing, "INDEX_CHUNK", 3)
    expected = cells()
    path = tmp_path / "out.h5ad"
    with create_h5ad(path, expected.obs, expected.var) as file:
        writer = RowWriter(file, "X", expected.n_vars)
        for start in range(0, 40, 9):
            block = expected.X[start : start + 9][::-1]  # backwards, and so is each row
            arrays = (block.data[::-1], block.indices[::-1], block.nnz - block.indptr[::-1])
            writer.append(sparse.csr_matrix(arrays, block.shape))
        writer.append(expected.X[:0])
        dtype = np.int32 if most == 10**9 else np.int64
        assert file["X/indptr"].dtype == file["X/indices"].dtype == dtype
        assert set(file["X"]) == {"data", "indices", "indptr"}
    made = ad.read_h5ad(path)
    assert np.array_equal(made.X.toarray(), expected.X.toarray())
    assert made.X.has_canonical_format
    assert np.array_equal(made[::7].copy().X.toarray(), expected[::7].X.toarray())
    pd.testing.assert_frame_equal(made.obs, expected.obs)


@pytest.mark.parametrize("most", [0, 100, 10**9])
def test_matrices_beside_share_their_places(most, tmp_path, monkeypatch):
    monkeypatch.setattr(h5ad_writing, "MOST_INT32", most)
    monkeypatch.setattr(h5ad_writing, "INDEX_CHUNK", 3)
    expected = cells()
    path = tmp_path / "out.h5ad"
    with create_h5ad(path, expected.obs, expected.var) as file:
        writer = RowWriter(file, "X", expected.n_vars, ["layers/counts"])
        for start in range(0, 40, 9):
            counts = expected.X[start : start + 9]
            arrays = (counts.data[::-1], counts.indices[::-1], counts.nnz - counts.indptr[::-1])
            backwards = sparse.csr_matrix(arrays, counts.shape)
            writer.append(backwards.sqrt(), backwards)
    with h5py.File(path) as file:
        for name in ("indices", "indptr"):
            assert file[f"layers/counts/{name}"] == file[f"X/{name}"]  # one dataset, two links
    made = ad.read_h5ad(path)
    backwards = np.vstack([expected.X[n : n + 9].toarray()[::-1] for n in range(0, 40, 9)])
    assert np.array_equal(made.layers["counts"].toarray(), backwards)
    np.testing.assert_allclose(made.X.toarray(), np.sqrt(backwards), rtol=1e-6)
    assert made.layers["counts"].has_canonical_format
    made.layers["counts"] *= 2  # in memory they share nothing
    made.write_h5ad(tmp_path / "again.h5ad")
    again = ad.read_h5ad(tmp_path / "again.h5ad")
    assert np.array_equal(again.layers["counts"].toarray(), 2 * backwards)


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_blocks_of_sparse_data_hold_about_so_many_values(share, tmp_path, monkeypatch):
    monkeypatch.setattr(backed, "CHUNK_VALUES", 3000)
    values = sparse.random(400, 500, share, "csr", np.float32, random_state=0)
    ad.AnnData(values).write_h5ad(tmp_path / "sparse.h5ad")
    with open_anndata(tmp_path / "sparse.h5ad") as data:
        blocks = [block for _, block in data.chunks()]
    assert sum(block.shape[0] for block in blocks) == 400
    assert max(block.nnz for block in blocks) < 3300
    assert np.mean([block.nnz for block in blocks[:-1]]) > 2700
    assert abs(sparse.vstack(blocks) - values).nnz == 0
