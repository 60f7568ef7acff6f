"""Cells near each other in expression: principal components by blocks, and groups of near cells."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from c2sflow.data.backed import CellData

N_GENES = 2000  # most variable ones, as scanpy's tutorials take them
N_COMPONENTS = 50  # scanpy's default


def principal_components(
    data: CellData, n_genes: int = N_GENES, n_components: int = N_COMPONENTS
) -> np.ndarray:
    """Principal components of the most variable genes, float32 (n_obs, n_components).

    Those of ``scanpy.pp.pca`` up to their sign: here the largest loading is positive.
    Three readings by blocks: memory holds a block, genes × genes and the result.

    Parameters
    ----------
    data
        Log-normalised cells.
    n_genes
        Genes with the highest variance that are used.
    n_components
        Fewer if there are not as many genes or cells.
    """
    sums, squares = np.zeros(data.n_vars), np.zeros(data.n_vars)
    for _, block in data.chunks():
        sums += np.asarray(block.sum(axis=0)).ravel()
        squares += np.asarray(block.multiply(block).sum(axis=0)).ravel()
    variances = squares / data.n_obs - (sums / data.n_obs) ** 2
    genes = np.sort(np.argsort(-variances, kind="stable")[:n_genes])
    products = np.zeros((len(genes), len(genes)))
    for _, block in data.chunks():
        own = block[:, genes].astype(np.float64)
        products += (own.T @ own).toarray()
    means = sums[genes] / data.n_obs
    covariance = products / data.n_obs - np.outer(means, means)
    n_components = min(n_components, len(genes), max(1, data.n_obs - 1))
    axes = _main_axes(covariance, n_components)
    points = np.empty((data.n_obs, n_components), dtype=np.float32)
    for start, block in data.chunks():
        points[start : start + block.shape[0]] = block[:, genes] @ axes - means @ axes
    return points


def near_order(points: np.ndarray, sizes: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """An order of cells whose runs of these sizes are cells near each other.

    The cells are halved along their main axis, and each half again, until a part is one group: a
    balanced tree as of k-d trees, so that each cell is in one group and none is left over, in
    n log(n) steps.

    Parameters
    ----------
    points
        float (n_cells, n_dimensions).
    sizes
        int (n_groups,): cells of each group, n_cells in all.
    ties
        int (n_cells,): order of cells at one place.

    Returns
    -------
    int64 (n_cells,).
    """
    order = np.argsort(ties, kind="stable")
    ends = np.concatenate([[0], np.cumsum(sizes)])
    waiting = [(0, len(sizes))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        middle = (first + last) // 2
        rows = order[ends[first] : ends[last]]
        own = points[rows].astype(np.float64)
        along = own @ _main_axes(np.cov(own, rowvar=False, bias=True).reshape(2 * [own.shape[1]]))
        order[ends[first] : ends[last]] = rows[np.lexsort((ties[rows], along[:, 0]))]
        waiting += [(first, middle), (middle, last)]
    return order


def _main_axes(covariance: np.ndarray, n_axes: int = 1) -> np.ndarray:
    """float64 (n_dimensions, n_axes): eigenvectors, that of the largest eigenvalue first."""
    n = len(covariance)
    _, axes = eigh(covariance, subset_by_index=[n - n_axes, n - 1])
    axes = axes[:, ::-1]
    largest = np.abs(axes).argmax(axis=0)
    return axes * np.where(axes[largest, np.arange(n_axes)] < 0, -1.0, 1.0)
