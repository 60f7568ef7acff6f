"""Neighbours, UMAP and clusters of the embedding, stored with it."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from c2sflow.results.umap import add_umap

GROUPS = 3


def stored(path, vectors, layout=True, own=("X_umap",)):
    """c2s.h5ad of these embeddings, with a UMAP that the input brought under each name of `own`."""
    cells = ad.AnnData(
        sparse.csr_matrix((len(vectors), 2), dtype=np.float32),
        obs=pd.DataFrame(
            {"n": np.arange(len(vectors))}, index=[f"c{n}" for n in range(len(vectors))]
        ),
        obsm={"X_c2s": vectors}
        | {name: np.ones((len(vectors), 2), dtype=np.float32) for name in own},
    )
    cells.write_h5ad(path)
    if layout:
        with h5py.File(path, "r+") as file:
            add_umap(file)
    return ad.read_h5ad(path)


@pytest.fixture(scope="module")
def vectors():
    """Three groups far apart; one cell without an embedding."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(90, 8)) + 30 * np.eye(8)[np.arange(90) % GROUPS]
    made[4] = np.nan
    return made.astype(np.float32)


def test_neighbours_are_the_nearest_and_clusters_the_groups(tmp_path, vectors):
    cells = stored(tmp_path / "c2s.h5ad", vectors)
    there = np.isfinite(vectors).all(axis=1)
    distances = cells.obsp["c2s_neighbors_distances"]
    assert distances[4].nnz == distances[:, 4].nnz == 0
    found, nearest = NearestNeighbors(n_neighbors=15).fit(vectors[there]).kneighbors()
    rows = np.flatnonzero(there)
    for row, true, far in zip(rows, nearest[:, :14], found[:, :14], strict=True):
        own = distances[row]
        assert set(own.indices) == set(rows[true])  # scanpy counts the cell itself
        np.testing.assert_allclose(sorted(own.data), far, rtol=1e-3)
    clusters = cells.obs["c2s_leiden"]
    assert clusters.isna().tolist() == (~there).tolist()
    groups = pd.Series(np.arange(90) % GROUPS)[there]
    pairs = pd.crosstab(clusters[there].to_numpy(), groups.to_numpy())
    assert (pairs > 0).sum(axis=1).max() == 1  # no cluster mixes groups
    places = cells.obsm["X_c2s_umap"]
    assert places.dtype == np.float32
    assert np.isnan(places[4]).all()
    assert np.isfinite(places[there]).all()
    centres = np.array([places[there][groups == n].mean(axis=0) for n in range(GROUPS)])
    spread = max(places[there][groups == n].std() for n in range(GROUPS))
    assert np.linalg.norm(centres[0] - centres[1]) > spread
    assert cells.uns["c2s_neighbors"]["connectivities_key"] == "c2s_neighbors_connectivities"
    assert (cells.obsm["X_umap"] == 1).all()  # the input's own stays
    assert cells.obs["n"].tolist() == list(range(90))


def test_scanpy_plots_it_where_the_input_has_none_of_its_own(tmp_path, vectors, caplog):
    caplog.set_level("INFO")
    cells = stored(tmp_path / "c2s.h5ad", vectors, own=())
    assert np.array_equal(cells.obsm["X_umap"], cells.obsm["X_c2s_umap"], equal_nan=True)
    axes = sc.pl.umap(cells, color="c2s_leiden", show=False)
    drawn = axes.collections[0].get_offsets()
    assert len(drawn) == len(vectors)
    assert "own" not in caplog.text

    # That of an earlier run of ours is both; the input's own is not, and how to plot ours is known.
    cells = stored(tmp_path / "again.h5ad", vectors, own=("X_umap", "X_c2s_umap"))
    assert np.array_equal(cells.obsm["X_umap"], cells.obsm["X_c2s_umap"], equal_nan=True)
    assert "own" not in caplog.text
    cells = stored(tmp_path / "own.h5ad", vectors)
    assert (cells.obsm["X_umap"] == 1).all()
    assert 'sc.pl.embedding(adata, "X_c2s_umap")' in caplog.text
    sc.pl.embedding(cells, "X_c2s_umap", show=False)


def test_the_same_every_time(tmp_path, vectors):
    one, two = (stored(tmp_path / f"{n}.h5ad", vectors) for n in range(2))
    assert np.array_equal(one.obsm["X_c2s_umap"], two.obsm["X_c2s_umap"], equal_nan=True)
    assert one.obs["c2s_leiden"].equals(two.obs["c2s_leiden"])


def test_too_few_cells_are_said(tmp_path, vectors, caplog):
    cells = stored(tmp_path / "c2s.h5ad", vectors[:8])
    assert "7 cells have an embedding, too few" in caplog.text
    assert "X_c2s_umap" not in cells.obsm


def test_more_cells_than_are_searched_exactly(tmp_path):
    """Above 4,096 cells scanpy asks pynndescent, of which it takes versions before 0.7 only."""
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(4100, 4)) + 30 * np.eye(4)[np.arange(4100) % 4]).astype(np.float32)
    cells = stored(tmp_path / "c2s.h5ad", vectors)
    graph = cells.obsp["c2s_neighbors_distances"].tocoo()
    assert graph.shape == (4100, 4100)
    assert (graph.row % 4 == graph.col % 4).mean() > 0.99
    assert cells.obs["c2s_leiden"].nunique() >= 4
