"""Unordered entries by rows: what scipy makes of the whole, in memory that does not grow."""

import tracemalloc

import anndata as ad
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import cells, write_input
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data import csc_to_csr as row_bands
from c2sflow.data.csc_to_csr import RowBands
from c2sflow.data.readers import open_anndata


def in_blocks(matrix, size):
    """Entries of a matrix in a random order, by blocks."""
    entries = sparse.coo_matrix(matrix)
    order = np.random.default_rng(size).permutation(entries.nnz)
    for start in range(0, entries.nnz, size):
        at = order[start : start + size]
        yield entries.row[at], entries.col[at], entries.data[at]


@given(
    n_rows=st.integers(1, 60),
    size=st.integers(1, 50),
    band=st.integers(1, 80),
    data=st.data(),
)
def test_any_blocks_bands_and_slices_give_the_matrix(n_rows, size, band, data):
    matrix = sparse.random(n_rows, 7, 0.3, "csr", np.float32, rng=np.random.default_rng(n_rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_bands, "BAND", band)
        rows = RowBands(lambda: in_blocks(matrix, size), matrix.shape, matrix.nnz, np.float32)
        whole = matrix.toarray()
        for _ in range(3):
            start = data.draw(st.integers(0, n_rows))
            stop = data.draw(st.integers(start, n_rows + 5))
            assert np.array_equal(rows[start:stop].toarray(), whole[start:stop])
        chosen = np.array(sorted(data.draw(st.sets(st.integers(0, n_rows - 1), min_size=1))))
        assert np.array_equal(rows.select(chosen).toarray(), whole[chosen])
        rows.close()


def test_temporary_files_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    with open_anndata(write_input(cells(), "csc-h5ad", tmp_path)) as data:
        data.sample_rows(8, 2)
        assert list((tmp_path / "scratch").iterdir()) == []
        data.rows(0, 3)
        assert len(list((tmp_path / "scratch").iterdir())) == 1
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("kind", ["csc-h5ad", "csc-zarr", "10x-directory", "10x-h5"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_sampled_rows_are_those_of_rows(kind, tmp_path):
    expected = cells(200).X.toarray()
    with open_anndata(write_input(cells(200), kind, tmp_path)) as data:
        found = data.sample_rows(24, 3)
        assert found.has_canonical_format
        assert np.array_equal(
            found.toarray(), expected[[*range(8), *range(96, 104), *range(192, 200)]]
        )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x["indices"].__setitem__(5, 10_000), "an index is outside the matrix"),
        (lambda x: x["indices"].__setitem__(5, -1), "an index is outside the matrix"),
        (lambda x: x["indptr"].__setitem__(-1, 10**6), "not of the same length"),
    ],
)
def test_a_damaged_matrix_is_said(spoil, message, tmp_path):
    path = write_input(cells(), "csc-h5ad", tmp_path)
    with h5py.File(path, "r+") as file:
        spoil(file["X"])
    with open_anndata(path) as data, pytest.raises(UserError, match=message):
        data.rows(0, 5)


def test_memory_does_not_grow_with_the_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr(row_bands, "BAND", 2**16)
    monkeypatch.setattr(row_bands, "BLOCK", 2**16)
    peaks = []
    for n_cells in (2_000, 16_000):
        matrix = sparse.random(n_cells, 500, 0.2, "csc", np.float32, rng=np.random.default_rng(0))
        path = tmp_path / f"{n_cells}.h5ad"
        ad.AnnData(matrix).write_h5ad(path)
        with open_anndata(path) as data:
            tracemalloc.start()
            n_values = sum(block.nnz for _, block in data.chunks(200))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert n_values == matrix.nnz
    # 14,000 cells more are 10.7 MiB as CSR, and twice that while one is made from the other.
    assert peaks[1] - peaks[0] < 2**20
