"""Neighbours, UMAP and Leiden clusters of the embedding, by scanpy, stored with it."""

from __future__ import annotations

import logging
import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy import sparse

from c2sflow.common.threads import compiled_once
from c2sflow.data.h5ad import write_element

LOGGER = logging.getLogger(__name__)
MIN_CELLS = 10
# Names of our own: an input may bring a UMAP and neighbours, which stay.
NEIGHBORS, UMAP, CLUSTERS = "c2s_neighbors", "X_c2s_umap", "c2s_leiden"
SCANPYS = "X_umap"  # where scanpy.pl.umap looks


def add_umap(file: h5py.File, seed: int = 42) -> None:
    """Store what scanpy makes of ``obsm["X_c2s"]`` with its defaults.

    ``uns["c2s_neighbors"]`` and ``obsp["c2s_neighbors_connectivities"]`` and ``…_distances`` (15
    neighbours, CSR, n_obs × n_obs), ``obsm["X_c2s_umap"]`` float32 (n_obs, 2) and
    ``obs["c2s_leiden"]`` (igraph, resolution 1). A cell without an embedding has no neighbours, NaN
    and no cluster. ``obsm["X_umap"]`` is the same, unless the input has one of its own.

    Parameters
    ----------
    file
        c2s.h5ad, open for writing, with obs and obsm/X_c2s.
    """
    import scanpy as sc

    vectors = file["obsm/X_c2s"][:]
    there = np.isfinite(vectors).all(axis=1)
    if there.sum() < MIN_CELLS:
        LOGGER.warning("--store_umap: %d cells have an embedding, too few", there.sum())
        return
    cells = ad.AnnData(obsm={"X_c2s": vectors[there]})
    n_neighbors = min(15, cells.n_obs - 1)
    with compiled_once():
        import umap  # noqa: F401 (scanpy imports it, too)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what will change in scanpy and umap-learn
        sc.pp.neighbors(cells, n_neighbors, use_rep="X_c2s", key_added=NEIGHBORS, random_state=seed)
        sc.tl.umap(cells, neighbors_key=NEIGHBORS, key_added=UMAP, random_state=seed)
        sc.tl.leiden(
            cells, neighbors_key=NEIGHBORS, key_added=CLUSTERS, random_state=seed,
            flavor="igraph", n_iterations=2, directed=False,
        )  # fmt: skip
    rows = np.flatnonzero(there)
    for name, graph in cells.obsp.items():
        write_element(file, f"obsp/{name}", _among_all(graph, rows, len(there)))
    places = np.full((len(there), 2), np.nan, dtype=np.float32)
    places[rows] = cells.obsm[UMAP]
    _write_places(file, places)
    clusters = cells.obs[CLUSTERS].cat
    codes = np.full(len(there), -1)
    codes[rows] = clusters.codes
    obs = read_elem(file["obs"])
    obs[CLUSTERS] = pd.Categorical.from_codes(codes, clusters.categories)
    write_element(file, "obs", obs)
    write_element(file, f"uns/{NEIGHBORS}", cells.uns[NEIGHBORS])
    LOGGER.info("UMAP and %d clusters of %d cells", len(clusters.categories), cells.n_obs)


def _write_places(file: h5py.File, places: np.ndarray) -> None:
    """The UMAP, and for ``scanpy.pl.umap`` as X_umap, unless that is the input's own."""
    stored = {name: file[f"obsm/{name}"][:] for name in (UMAP, SCANPYS) if name in file["obsm"]}
    write_element(file, f"obsm/{UMAP}", places)
    # One that an earlier run of ours made gives way, as all that it made.
    earlier = UMAP in stored and np.array_equal(
        stored[UMAP], stored.get(SCANPYS, places), equal_nan=True
    )
    if SCANPYS not in stored or earlier:
        write_element(file, f"obsm/{SCANPYS}", places)
    else:
        LOGGER.info(
            'obsm["%s"] is the input\'s own; that of the embedding: sc.pl.embedding(adata, "%s")',
            SCANPYS, UMAP,
        )  # fmt: skip


def _among_all(graph: sparse.spmatrix, rows: np.ndarray, n_obs: int) -> sparse.csr_matrix:
    """A graph of some cells as one of all: the others have no edges."""
    graph = sparse.coo_matrix(graph)
    return sparse.csr_matrix((graph.data, (rows[graph.row], rows[graph.col])), (n_obs, n_obs))
