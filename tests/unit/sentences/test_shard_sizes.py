"""Shards of about the same work, of cells that follow each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from c2sflow.data.h5ad import RowWriter, create_h5ad
from c2sflow.sentences import shards as shard_sizes
from c2sflow.sentences.shards import PROMPT_GENES, SHARD_GENES, genes_per_cell, shard_bounds


def check_partition(bounds, n_obs):
    assert [cell for start, stop in bounds for cell in range(start, stop)] == list(range(n_obs))
    assert all(start < stop for start, stop in bounds)


@given(lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=300), size=st.integers(1, 400))
def test_a_number_is_the_most_cells(lengths, size):
    bounds = shard_bounds(np.array(lengths), size)
    check_partition(bounds, len(lengths))
    assert [stop - start for start, stop in bounds[:-1]] == [size] * (-(-len(lengths) // size) - 1)
    assert bounds == shard_bounds(np.array(lengths), str(size))


@given(
    lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=300),
    target=st.integers(1, 50_000),
    max_genes=st.one_of(st.none(), st.integers(1, 500)),
)
def test_auto_balances_the_genes(lengths, target, max_genes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_sizes, "SHARD_GENES", target)
        bounds = shard_bounds(np.array(lengths, dtype=np.int32), "auto", max_genes)
    check_partition(bounds, len(lengths))
    work = [min(n, max_genes or n) + PROMPT_GENES for n in lengths]
    n_shards = -(-sum(work) // target)
    assert len(bounds) <= n_shards
    if max(work) <= target / 2:  # else a cell alone may be more than a shard
        assert len(bounds) == n_shards
        for start, stop in bounds:
            assert abs(sum(work[start:stop]) - sum(work) / n_shards) <= max(work) + 1


def test_auto_at_the_size_of_an_atlas():
    lengths = np.random.default_rng(0).integers(200, 4000, 200_000)
    lengths[50_000:100_000] //= 4  # a stretch of poor cells: more of them in a shard
    bounds = shard_bounds(lengths, "auto")
    work = [lengths[start:stop].sum() + PROMPT_GENES * (stop - start) for start, stop in bounds]
    assert max(work) <= SHARD_GENES * 1.01
    assert min(work) >= SHARD_GENES * 0.98
    cells = [stop - start for start, stop in bounds]
    assert max(cells) > 3 * min(cells)
    assert len(shard_bounds(lengths, "auto", max_genes=200)) < len(bounds) / 4


def test_auto_bounds_what_is_read_at_once():
    lengths = np.full(100_000, 5_000)
    bounds = shard_bounds(lengths, "auto", max_genes=1)
    assert max(stop - start for start, stop in bounds) * 5_000 <= shard_sizes.SHARD_ENTRIES
    assert shard_bounds(np.array([5]), "auto") == [(0, 1)]
    assert shard_bounds(np.zeros(7, dtype=int), "auto") == [(0, 7)]


def test_genes_are_counted_without_reading_them(pbmc, tmp_path):
    with create_h5ad(tmp_path / "cells.h5ad", pbmc.obs, pbmc.var) as file:
        writer = RowWriter(file, "X", pbmc.n_vars)
        for start in range(0, pbmc.n_obs, 90):
            writer.append(sparse.csr_matrix(pbmc.X[start : start + 90]))
    counted = genes_per_cell(tmp_path / "cells.h5ad")
    assert np.array_equal(counted, (pbmc.X.toarray() > 0).sum(axis=1))
