"""How cells lie to each other in an embedding: metrics of scIB (Luecken, Nat Methods 2022).

Each takes the distances between cells, or the cells sorted by them, and gives what `scib_metrics`
gives (tests: to 1e-3) without its JAX. Cells at one place are no error (scib-metrics #77).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import silhouette_samples

NEIGHBOURS_OF_LISI = 90  # with the cell itself, as in scib_metrics' Benchmarker
NEIGHBOURS_OF_GRAPH = 15
MOST_STEPS = 50  # of the search for a bandwidth
CLOSE = 1e-5


class Neighbours:
    """The cells around each cell, nearest first: sorted once for all metrics and all parts of them.

    Sorting is nearly all the time that these metrics take, of all cells and without each group.

    Parameters
    ----------
    distances
        float (n, n). A cell is the first of its own also where others are at the same place.
    """

    def __init__(self, distances: np.ndarray):
        order = distances.copy()
        np.fill_diagonal(order, -1)
        self._order = np.argsort(order, axis=1, kind="stable").astype(np.int32)
        self._distances = distances

    def of(self, own: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of some cells among these cells, each cell itself first.

        Parameters
        ----------
        own
            int (n_own,), ascending.

        Returns
        -------
        Their places in `own`, int (n_own, k), and distances, float; k is `n_own` at most.
        """
        kept = np.zeros(len(self._order), dtype=bool)
        kept[own] = True
        k = min(k, own.size)
        ahead = self._order[own, : k + len(kept) - own.size]  # k are kept, whatever is left out
        taken = kept[ahead]
        taken &= np.cumsum(taken, axis=1) <= k
        cells = ahead[taken].reshape(own.size, k)
        return (np.cumsum(kept) - 1)[cells], self._distances[own[:, None], cells]


def connectivity(neighbours: Neighbours, own: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the labels of the share of cells in the largest component of their own graph.

    Of the directed graph of nearest neighbours, by its strong components: graph connectivity.

    Parameters
    ----------
    own
        int (n,), ascending: the cells that are looked at.
    labels
        int (n,), theirs.
    """
    found = neighbours.of(own, NEIGHBOURS_OF_GRAPH)[0][:, 1:]
    rows = np.repeat(np.arange(len(found)), found.shape[1])
    shape = len(found), len(found)
    graph = sparse.csr_matrix((np.ones(rows.size), (rows, found.ravel())), shape)
    shares = []
    for label in np.unique(labels):
        one = np.flatnonzero(labels == label)
        _, component = connected_components(graph[one][:, one], connection="strong")
        shares.append(np.bincount(component).max() / one.size)
    return float(np.mean(shares))


def lisi(neighbours: Neighbours, own: np.ndarray, groups: np.ndarray) -> float:
    """Median over the cells of how many groups their neighbours are of (Korsunsky et al., 2019).

    Inverse Simpson's index of the neighbours' groups, weighted by a Gaussian of the distance whose
    perplexity is a third of the neighbours.

    Parameters
    ----------
    own
        int (n,), ascending: the cells that are looked at.
    groups
        int (n,), counted from 0: their types, or batches.

    Returns
    -------
    From 1, where all neighbours are of one group, to the number of groups.
    """
    found, distances = neighbours.of(own, NEIGHBOURS_OF_LISI)
    weights = _weights(distances[:, 1:], found.shape[1] // 3)
    simpson = np.zeros(len(found))
    for group in np.unique(groups):
        simpson += (weights * (groups[found[:, 1:]] == group)).sum(axis=1) ** 2
    return float(np.median(1 / simpson))


def _weights(distances: np.ndarray, perplexity: int) -> np.ndarray:
    """Shares of the neighbours, with this perplexity: float (n, k), rows sum to 1.

    By bisection of each cell's bandwidth at once, as t-SNE does.
    """
    low = np.full(len(distances), -np.inf)
    high = np.full(len(distances), np.inf)
    beta = np.ones(len(distances))
    nearer = distances - distances.min(axis=1, keepdims=True)  # the same shares, and no underflow
    for _step in range(MOST_STEPS):
        kernel = np.exp(-nearer * beta[:, None])
        total = kernel.sum(axis=1)
        entropy = np.log(total) + beta * (nearer * kernel).sum(axis=1) / total
        off = entropy - np.log(perplexity)
        if (np.abs(off) < CLOSE).all():
            break
        wide = off > 0
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        up = np.where(np.isinf(high), beta * 2, (beta + high) / 2)
        down = np.where(np.isinf(low), beta / 2, (beta + low) / 2)
        beta = np.where(np.abs(off) < CLOSE, beta, np.where(wide, up, down))
    return kernel / total[:, None]


def silhouette(distances: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette of the labels (Rousseeuw, 1987; scikit-learn), from 0 to 1 as in scIB."""
    return float((silhouette_samples(distances, labels, metric="precomputed").mean() + 1) / 2)


def batch_silhouette(distances: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> float:
    """Batch removal adapted silhouette, BRAS (Rautenstrauch & Ohler, Nat Biotechnol 2025).

    Within each label 1 - |silhouette| of the batches, where a cell's distance to other batches is
    its mean distance to all their cells; mean over the labels.

    Parameters
    ----------
    distances
        float (n, n); scib_metrics takes those of cosine.
    labels, batches
        int (n,).

    Returns
    -------
    1 where batches mix, 0 where each is far from all others; NaN if no label has two batches.
    """
    means = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        names, groups, sizes = np.unique(batches[own], return_inverse=True, return_counts=True)
        if not 1 < names.size < own.size:
            continue
        sums = distances[np.ix_(own, own)] @ np.eye(names.size)[groups]
        within = sums[np.arange(own.size), groups]
        others = (sums.sum(axis=1) - within) / (own.size - sizes[groups])
        with np.errstate(invalid="ignore", divide="ignore"):
            within = within / (sizes[groups] - 1)
            scores = (others - within) / np.maximum(within, others)
        means.append(1 - np.abs(np.nan_to_num(scores)).mean())
    return float(np.mean(means)) if means else np.nan
