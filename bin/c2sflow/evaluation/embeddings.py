"""How well an embedding keeps types together and mixes batches, beside some without a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy.stats import t as student
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    pairwise_distances,
)
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier

from c2sflow.common.statistics import LEVEL
from c2sflow.data.obs.figure_cells import FigureCells
from c2sflow.data.obs.measured_cells import draw
from c2sflow.evaluation.accuracy import N_NEIGHBOURS, fit_components, frequent
from c2sflow.evaluation.cell_types import VariableGenes, spaces
from c2sflow.evaluation.figures import Figure
from c2sflow.evaluation.neighbourhoods import (
    Neighbours,
    batch_silhouette,
    connectivity,
    lisi,
    silhouette,
)
from c2sflow.evaluation.run_reader import RunCells

MOST_CELLS = 2000  # distances between all of them are in memory
N_GROUPS = 10  # that are left out, one after the other, for the intervals
RANDOM_WIDTH = 50
LEAST = {"ari": -0.5}  # of the others 0


def embedding_figures(
    cells: RunCells, usable: FigureCells, batch_column: str | None, evaluation_key: str | None,
    most: int, seed: int,
) -> tuple[list[Figure], list[str]]:  # fmt: skip
    """Figures of X_c2s, other arrays of obsm, components of expression, and random vectors.

    Parameters
    ----------
    usable
        Of the column of types.
    batch_column
        Column of obs with the batch, donor or sample: how well these mix; None: not asked for.
    evaluation_key
        See `c2sflow.evaluation.run.Settings`.
    most
        Cells that are looked at, `MOST_CELLS` at most.
    """
    rows = draw(cells.obs, np.flatnonzero(usable.judged), min(most, MOST_CELLS), seed, "embedding")
    if rows.size:
        rows = rows[np.isfinite(cells.obsm("X_c2s", rows)).all(axis=1)]
        rows = rows[frequent(pd.Series(usable.labels[rows], dtype=object))]
    labels = usable.labels[rows].astype(str)
    if np.unique(labels).size < 2:
        return [], []
    batches, notes = None, []
    if batch_column:
        batches = batches_of(cells.obs, batch_column, rows)
        if len(set(batches[batches != ""])) < 2:
            notes.append(
                f"{batch_column}: these cells are of fewer than two batches, which cannot mix"
            )
            batches = None
    figures: list[Figure] = []
    for space, vectors in compared_spaces(cells, rows, evaluation_key, seed).items():
        figures += space_figures(vectors, labels, batches, space, seed)
    return figures, notes


def batches_of(obs: pd.DataFrame, column: str, rows: np.ndarray) -> np.ndarray:
    """Batch of each of these cells as text, "" where it is missing: str (n_rows,)."""
    found = obs[column].iloc[rows]
    return np.where(found.notna(), found.astype(str), "").astype(str)


def compared_spaces(
    cells: RunCells, rows: np.ndarray, evaluation_key: str | None, seed: int
) -> dict[str, np.ndarray]:
    """Name to vectors, float (n_rows, width): X_c2s first, then what needs no model."""
    found = {name: vectors for name, (vectors, _) in spaces(cells, rows, evaluation_key).items()}
    expression = cells.expression(rows)
    variable = VariableGenes().fit(expression).transform(expression)
    found["expression_pcs"] = fit_components(expression, seed).transform(expression)
    found["variable_gene_pcs"] = fit_components(variable, seed).transform(variable)
    found["random"] = np.random.default_rng(seed).normal(size=(len(rows), RANDOM_WIDTH))
    return found


def space_figures(
    vectors: np.ndarray, labels: np.ndarray, batches: np.ndarray | None, space: str, seed: int
) -> list[Figure]:
    """Every metric of one embedding, with a 95 % interval by the grouped jackknife.

    A bootstrap would put copies of a cell at the same place, which are then its neighbours.

    Parameters
    ----------
    vectors
        float (n, width), finite.
    labels
        str (n,): at least two.
    batches
        str (n,), "" where unknown; None: types only.
    """
    figures = []
    for metric, of_cells, own in _metrics(vectors.astype(np.float64), labels, batches, seed):
        value, low, high = metric_interval(of_cells, own, seed)
        low, high = max(low, LEAST.get(metric, 0.0)), min(high, 1.0)  # NaN stays NaN
        figures.append(Figure(metric, "", "embedding", value, own.size, space, low, high))
    return figures


Statistic = Callable[[np.ndarray], float]  # of some of the cells


def _metrics(
    vectors: np.ndarray, labels: np.ndarray, batches: np.ndarray | None, seed: int
) -> Iterator[tuple[str, Statistic, np.ndarray]]:
    """Name, the metric as a function of which cells, and the cells that it is of."""
    every = np.arange(len(vectors))
    types = np.unique(labels, return_inverse=True)[1]
    distances = pairwise_distances(vectors)
    neighbours = Neighbours(distances)
    n_types = types.max() + 1
    clusters = _clusters(vectors, types, seed)
    yield "nmi", lambda own: normalized_mutual_info_score(types[own], clusters(own)), every
    yield "ari", lambda own: adjusted_rand_score(types[own], clusters(own)), every
    yield "silhouette", lambda own: silhouette(_of(distances, own), types[own]), every
    yield "graph_connectivity", lambda own: connectivity(neighbours, own, types[own]), every

    def scaled_clisi(own: np.ndarray) -> float:
        return (n_types - lisi(neighbours, own, types[own])) / (n_types - 1)

    yield "clisi", scaled_clisi, every
    if batches is None:
        return
    known = np.flatnonzero(batches != "")
    groups = np.unique(batches, return_inverse=True)[1]
    n_batches = np.unique(groups[known]).size
    cosine = pairwise_distances(vectors, metric="cosine")

    def scaled_ilisi(own: np.ndarray) -> float:
        return (lisi(neighbours, own, groups[own]) - 1) / (n_batches - 1)

    yield "ilisi", scaled_ilisi, known
    yield "bras", lambda own: batch_silhouette(_of(cosine, own), types[own], groups[own]), known
    yield "transfer_accuracy", lambda own: transfer(vectors[own], types[own], groups[own]), known


def _of(distances: np.ndarray, own: np.ndarray) -> np.ndarray:
    return distances if own.size == len(distances) else distances[np.ix_(own, own)]


def _clusters(
    vectors: np.ndarray, types: np.ndarray, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """k-means with as many clusters as types; of fewer cells it starts where that of all ended."""
    found: dict[bytes, np.ndarray] = {}
    n_clusters = types.max() + 1
    whole = _fitted(KMeans(n_clusters, n_init=10, random_state=seed % 2**32), vectors)

    def of_cells(own: np.ndarray) -> np.ndarray:
        if own.size == len(vectors):
            return whole.labels_
        key = own.tobytes()
        if key not in found:
            again = KMeans(n_clusters, init=whole.cluster_centers_, n_init=1)
            found[key] = _fitted(again, vectors[own]).labels_
        return found[key]

    return of_cells


def _fitted(clusters: KMeans, vectors: np.ndarray) -> KMeans:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # cells at fewer places than clusters
        return clusters.fit(vectors)


def transfer(vectors: np.ndarray, types: np.ndarray, batches: np.ndarray) -> float:
    """Share of the cells whose type the nearest cells of other batches have.

    Of each batch in turn, from all the others, of cells whose type occurs there; NaN without any.
    """
    right: list[np.ndarray] = []
    for batch in np.unique(batches):
        own = batches == batch
        asked = own & np.isin(types, types[~own])
        if asked.any() and (~own).any():
            nearest = KNeighborsClassifier(min(N_NEIGHBOURS, int((~own).sum())))
            found = nearest.fit(vectors[~own], types[~own]).predict(vectors[asked])
            right.append(found == types[asked])
    return float(np.concatenate(right).mean()) if right else np.nan


def metric_interval(
    statistic: Statistic, cells: np.ndarray, seed: int
) -> tuple[float, float, float]:
    """A statistic and the ends of its 95 % interval.

    The cells are parted into ten groups, each is left out in turn, and Student's t with nine
    degrees of freedom is taken of the spread (grouped jackknife; Efron & Tibshirani, 1993).
    There is no interval if a statistic without a group is undefined, or if all are the same.
    """
    value = float(statistic(cells))
    if cells.size < 2 * N_GROUPS or not np.isfinite(value):
        return value, np.nan, np.nan
    groups = KFold(N_GROUPS, shuffle=True, random_state=seed % 2**32)
    without = np.array([statistic(cells[kept]) for kept, _ in groups.split(cells)])
    if not np.isfinite(without).all() or np.ptp(without) < 1e-12:
        return value, np.nan, np.nan
    error = np.sqrt((N_GROUPS - 1) * without.var())
    half = float(student.ppf((1 + LEVEL) / 2, N_GROUPS - 1) * error)
    return value, value - half, value + half
