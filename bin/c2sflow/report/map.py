"""The map of the report: cells placed by their embeddings, and how well it parts them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from c2sflow.common.errors import UserError
from c2sflow.common.threads import compiled_once
from c2sflow.data.obs.figure_cells import known_labels

MAX_CELLS = 10_000  # more points show no more, and slow the page down
MIN_CELLS = 10
N_NEIGHBOURS = 15  # that UMAP looks at
N_NEAR = 5  # that figures are of: few, so that a type of few cells can have as many
SEED = 0
STORED = "X_c2s_umap"  # in obsm, of --store_umap
BLOCK_BYTES = 2**26


@dataclass
class CellMap:
    """A sample of the cells: coordinates, columns of obs, and neighbours.

    Parameters
    ----------
    n_cells
        Cells in the file that figures may use: `c2sflow.data.obs.figure_cells`.
    obs
        What neighbours are compared by (label column, sample, predicted cell type), a row for each
        cell shown.
    rows
        int (n_shown,): positions of these cells in the file, ascending.
    coordinates
        float (n_shown, 2), None if there is nothing to draw.
    stored
        Whether the coordinates are those of the file (``obsm["X_c2s_umap"]``).
    neighbours
        int (n_shown, k): nearest other cells shown, by their embeddings.
    missing
        Why there is nothing to draw.
    """

    n_cells: int
    obs: pd.DataFrame
    rows: np.ndarray
    coordinates: np.ndarray | None = None
    stored: bool = False
    neighbours: np.ndarray | None = None
    missing: str = ""

    @property
    def n_near(self) -> int:
        """How many neighbours of a cell figures are of."""
        return 0 if self.neighbours is None else self.neighbours.shape[1]

    def agreement(self, column: str) -> tuple[float, float]:
        """Share of neighbours of the same group: as found, and expected if cells were shuffled.

        Cells without a group are left out; NaN if too few have one.
        """
        labels = self.obs[column]
        codes = pd.factorize(labels if column == "sample" else known_labels(labels))[0]
        near = codes[self.neighbours]
        pairs = (near >= 0) & (codes >= 0)[:, None]
        sizes = np.bincount(codes[codes >= 0]).astype(float)
        n = sizes.sum()
        if n < 2 or not pairs.any():
            return np.nan, np.nan
        found = (near == codes[:, None])[pairs].mean()
        return float(found), float((sizes * (sizes - 1)).sum() / (n * (n - 1)))


def read_rows(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Rows (ascending) of a matrix on disk, read block by block."""
    step = max(1, BLOCK_BYTES // max(1, dataset.dtype.itemsize * dataset.shape[1]))
    out = np.empty((len(rows), dataset.shape[1]), dtype=np.float32)
    for start in range(0, dataset.shape[0], step):
        first, last = np.searchsorted(rows, [start, start + step])
        if first < last:
            out[first:last] = dataset[start : start + step][rows[first:last] - start]
    return out


def nearest(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices and distances of each row's nearest other rows, nearest first."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(N_NEIGHBOURS, len(vectors) - 1), algorithm="brute")
    distances, indices = search.fit(vectors).kneighbors()
    return indices, distances


def umap_coordinates(vectors: np.ndarray, indices: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """UMAP of the vectors, float (n, 2): the same input gives the same picture.

    umap-learn wants each cell to lead the list of its neighbours.
    """
    with compiled_once():
        from umap import UMAP

    own = np.arange(len(vectors))[:, None]
    known = (
        np.hstack([own, indices]).astype(np.int32),
        np.hstack([np.zeros(own.shape), distances]).astype(np.float32),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that new cells cannot be added later
        return UMAP(
            n_neighbors=known[0].shape[1],
            min_dist=0.5,
            init="pca",
            random_state=SEED,
            n_jobs=1,
            precomputed_knn=(*known, None),
        ).fit_transform(vectors)


def read_map(
    file: h5py.File, columns: list[str], optional: Sequence[str] = (),
    held_out: np.ndarray | None = None,
) -> CellMap:  # fmt: skip
    """Draw the map of ``obsm["X_c2s"]``, or take the one that is stored (``--store_umap``).

    Parameters
    ----------
    file
        c2s.h5ad, open. Only these columns, X_c2s, X_c2s_umap and no matrix of it are read.
    columns
        Columns of obs that neighbours are compared by.
    optional
        Further ones, of which those are taken that are there.
    held_out
        bool (n_cells,): the cells that may be shown; None: all.

    Raises
    ------
    UserError
        If a column is not in obs.
    """
    present = list(file["obs"].attrs["column-order"])
    if unknown := [name for name in columns if name not in present]:
        raise UserError(
            f"label_column: obs of c2s.h5ad has no column {unknown[0]!r}; it has: "
            + ", ".join(map(str, present))
        )
    columns = [*columns, *(name for name in optional if name in present and name not in columns)]
    obs = pd.DataFrame({name: pd.Series(read_elem(file["obs"][name])) for name in columns})
    dataset = file["obsm/X_c2s"]
    rows = np.arange(dataset.shape[0]) if held_out is None else np.flatnonzero(held_out)
    n_cells = len(rows)
    rows = some_rows(rows, MAX_CELLS)
    vectors = read_rows(dataset, rows)
    whole = np.isfinite(vectors).all(axis=1)
    vectors, rows = vectors[whole], rows[whole]
    found = CellMap(n_cells, obs.iloc[rows].reset_index(drop=True), rows)
    if len(vectors) < MIN_CELLS:
        found.missing = (
            f"{len(vectors)} cells have an embedding; a UMAP needs at least {MIN_CELLS}."
        )
        return found
    if not np.ptp(vectors, axis=0).any():
        found.missing = "All cells have the same embedding."
        return found
    indices, distances = nearest(vectors)
    found.neighbours = indices[:, :N_NEAR]
    if f"obsm/{STORED}" in file:
        stored = read_rows(file[f"obsm/{STORED}"], rows)
        found.stored = bool(np.isfinite(stored).all())
        found.coordinates = stored if found.stored else None
    if found.coordinates is None:
        found.coordinates = umap_coordinates(vectors, indices, distances)
    return found


def some_rows(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, drawn at random, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(SEED).choice(rows, most, replace=False))
