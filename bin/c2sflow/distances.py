"""How far two groups of cells lie apart, as distributions: scFID and energy distance."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from c2sflow.resampling import weights

MAX_CELLS = 500  # of a group: time grows with the square of the cells and more
N_RESAMPLES = 100


def scfid(one: np.ndarray, other: np.ndarray) -> float:
    """Fréchet distance of two groups of cells in an embedding space.

    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½), the squared 2-Wasserstein distance of two normal
    distributions with the groups' means and covariances (Dowson & Landau, 1982; FID, Heusel et
    al., 2017; on cells, scFID of C2S-Scale, Rizvi et al., 2025). tr (Σ₁Σ₂)^½ is the sum of the
    singular values of A₁A₂ᵀ for Σ = AᵀA, so that no root of a matrix is taken: real, finite and
    not negative also for fewer cells than dimensions. Then the covariances are known badly and
    the distance is too large: compare it with that of two halves of the real cells.

    Parameters
    ----------
    one, other
        float (n_cells, n_dimensions), two cells or more.

    Returns
    -------
    In squared units of the space; NaN for fewer than two cells.
    """
    if min(len(one), len(other)) < 2:
        return np.nan
    roots = []
    for group in (one, other):
        group = np.asarray(group, dtype=np.float64)
        root = (group - group.mean(axis=0)) / np.sqrt(len(group) - 1)
        # The triangle of a QR decomposition has the same AᵀA in fewer rows.
        roots.append(np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root)
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    traces = sum(np.square(root).sum() for root in roots)
    shift = np.square(np.mean(one, axis=0, dtype=np.float64) - np.mean(other, axis=0)).sum()
    return float(max(0.0, shift + traces - 2 * shared))


def scfid_replicates(one: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """scFID of the two groups, and after it of bootstrap resamples of both: (1 + n,)."""
    if min(len(one), len(other)) < 2:
        return np.full(1, np.nan)
    rng = np.random.default_rng(seed)
    drawn = [
        scfid(*(group[rng.integers(len(group), size=len(group))] for group in (one, other)))
        for _ in range(N_RESAMPLES)
    ]
    return np.array([scfid(one, other), *drawn])


def energy_replicates(one: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """Energy distance of two groups, and after it of bootstrap resamples of both: (1 + n,).

    2 E|X - Y| - E|X - X'| - E|Y - Y'| with the Euclidean distance, over all pairs of cells, a
    cell with itself among them (Székely & Rizzo, 2013, V-statistic): never negative, 0 for the
    same cells. scPerturb's E-distance (Peidli et al., 2024) squares the distances.

    Parameters
    ----------
    one, other
        float (n_cells, n_dimensions).
    """
    if not min(len(one), len(other)):
        return np.full(1, np.nan)
    shares = [
        weights(len(group), seed, number, n_resamples=N_RESAMPLES)
        for number, group in enumerate((one, other))
    ]

    def mean_distance(i: int, j: int) -> np.ndarray:
        pairs = cdist(*((one, other)[k].astype(np.float64) for k in (i, j)))
        return np.einsum("bi,bi->b", shares[i] @ pairs, shares[j])

    found = 2 * mean_distance(0, 1) - mean_distance(0, 0) - mean_distance(1, 1)
    return np.maximum(found, 0)
