"""What a prediction is measured against: counts of no change, and of a linear baseline.

The mean response and the replicate are cell-eval2's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

MIN_TRAINING = 3  # conditions that the linear baseline is fitted to
COMPONENTS, RIDGE = 10, 0.1
CALIBRATION, ROUNDS = 300, 6  # cells drawn, and how often, to find how much shares change


def log_means(counts: sparse.csr_matrix) -> np.ndarray:
    """Mean over cells of the natural logarithm of 1 + counts at 10,000 a cell, (n_genes,)."""
    totals = np.maximum(np.asarray(counts.sum(axis=1, dtype=np.float64)), 1).ravel()
    scaled = sparse.diags(1e4 / totals) @ counts.astype(np.float64)
    scaled.data = np.log1p(scaled.data)
    return np.asarray(scaled.mean(axis=0)).ravel()


def no_change(
    control: sparse.csr_matrix, n_cells: int, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Control cells, drawn with replacement."""
    return control[rng.integers(0, control.shape[0], n_cells)]


def changed_cells(
    control: sparse.csr_matrix, change: np.ndarray, n_cells: int, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Control cells, drawn with replacement, whose expression is changed.

    Parameters
    ----------
    control
        Counts.
    change
        float (n_genes,): of the mean logarithm of `log_means`.

    Returns
    -------
    Counts of new cells, drawn (multinomial) at the depth of the control cells: each gene's share is
    the control cell's times a factor, which is found by drawing: that of a mean of logarithms
    depends on how many cells have no count.
    """
    wanted = np.maximum(log_means(control) + change, 0)
    factors = np.exp(change)
    rows = rng.integers(0, control.shape[0], CALIBRATION)
    for _ in range(ROUNDS):
        found = log_means(_drawn(control, rows, factors, rng))
        factors *= np.exp(np.clip(wanted - found, -1, 1))
        factors = np.clip(factors, 1e-3, 1e3)
    return _drawn(control, rng.integers(0, control.shape[0], n_cells), factors, rng)


def _drawn(
    control: sparse.csr_matrix, rows: np.ndarray, factors: np.ndarray, rng: np.random.Generator
) -> sparse.csr_matrix:
    """These control cells drawn again, the share of each gene times its factor."""
    cells = []
    for row in rows:
        own = control[row]
        shares = own.data * factors[own.indices]
        depth, total = int(own.sum()), shares.sum()
        drawn = rng.multinomial(depth, shares / total) if total else np.zeros(own.nnz)
        cells.append(sparse.csr_matrix((drawn, own.indices, [0, own.nnz]), own.shape))
    found = sparse.vstack(cells, "csr").astype(np.float32)
    found.eliminate_zeros()
    return found


def linear_changes(
    changes: Mapping[str, np.ndarray], targets: Mapping[str, str | None], genes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Change of each condition by a linear model of the others (Ahlmann-Eltze et al., 2025).

    The model is Y ≈ G W Pᵀ + b: Y the changes of the other conditions (genes × conditions), b their
    mean, G the first principal components of Y, P those rows of G that belong to the genes which
    the conditions target, W by ridge regression. A condition is predicted from its own gene's row.

    Parameters
    ----------
    changes
        Measured change of each condition, float (n_genes,).
    targets
        The gene that each condition targets; None: unknown.

    Returns
    -------
    The conditions that can be predicted so: their gene is in the data, and at least `MIN_TRAINING`
    others target one too.
    """
    place = pd.Index(genes)
    known = [name for name in changes if targets.get(name) in place]
    rows = {name: place.get_loc(targets[name]) for name in known}
    found = {}
    for name in known:
        others = [other for other in known if other != name]
        if len(others) < MIN_TRAINING:
            break
        values = np.column_stack([changes[other] for other in others])
        mean = values.mean(axis=1)
        centred = values - mean[:, None]
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        n = min(COMPONENTS, len(others) - 1)
        features = left[:, :n] * sizes[:n]
        given = features[[rows[other] for other in others]]
        ridge = RIDGE * np.eye(n)
        weights = (
            np.linalg.solve(features.T @ features + ridge, features.T @ centred)
            @ given
            @ np.linalg.inv(given.T @ given + ridge)
        )
        found[name] = mean + features @ weights @ features[rows[name]]
    return found
