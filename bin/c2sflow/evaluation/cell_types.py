"""Cell types, or other labels, from embeddings, expression and the model, beside baselines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from c2sflow.data.obs.figure_cells import FigureCells
from c2sflow.data.obs.measured_cells import draw
from c2sflow.data.obs.queries import obsm_keys
from c2sflow.evaluation.accuracy import (
    N_FOLDS,
    N_NEIGHBOURS,
    View,
    classifiers,
    confusion_table,
    frequent,
    gain_figures,
    held_out_labels,
    label_figures,
    majority,
)
from c2sflow.evaluation.figures import Figure, figures_table
from c2sflow.evaluation.run_reader import RunCells
from c2sflow.inputs.labels import CELL_TYPE

N_COMPONENTS = 50
CELLS_PER_COMPONENT = 10
N_VARIABLE = 2000
MAX_ITERATIONS = 100


class VariableGenes(TransformerMixin, BaseEstimator):
    """The genes that vary most: scanpy's ``highly_variable_genes`` (Seurat), at most half of all.

    Fitted to log10-normalised expression, CSR (n_cells, n_genes).
    """

    def fit(self, matrix: sparse.csr_matrix, _labels: object = None) -> VariableGenes:
        """Choose the genes by these cells; their labels have no part in it."""
        data = AnnData(matrix, uns={"log1p": {"base": 10}})
        n_genes = max(1, min(N_VARIABLE, matrix.shape[1] // 2))
        found = sc.pp.highly_variable_genes(data, n_top_genes=n_genes, inplace=False)
        self.chosen_ = np.flatnonzero(found["highly_variable"].to_numpy())
        return self

    def transform(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        """Their columns."""
        return matrix[:, self.chosen_]


class Components(TransformerMixin, BaseEstimator):
    """Principal components, not whitened: 50, but at least ten cells for each (scikit-learn)."""

    def fit(self, matrix: sparse.csr_matrix, _labels: object = None) -> Components:
        """Of these cells."""
        most = min(matrix.shape[0] // CELLS_PER_COMPONENT, min(matrix.shape) - 1, N_COMPONENTS)
        self.pca_ = PCA(max(1, most), svd_solver="arpack", random_state=0).fit(matrix)
        return self

    def transform(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """float (n_cells, n_components)."""
        return self.pca_.transform(matrix)


def baselines(
    expression: sparse.csr_matrix, more: tuple[sparse.csr_matrix, np.ndarray] | None = None
) -> dict[str, View]:
    """What reads types from log-normalised expression.

    Neither components nor genes are scaled: that would give noise the weight of what parts types.
    """
    probe = {"linear_probe": LogisticRegression(max_iter=MAX_ITERATIONS, tol=1e-3)}
    both = {"knn": KNeighborsClassifier(N_NEIGHBOURS)} | probe
    return {
        "expression_pcs": View(expression, both, Components(), more),
        "genes": View(expression, probe, None, more),
        "variable_genes": View(expression, probe, VariableGenes(), more),
    }


EARLIER = "X_c2s of the input"
JUDGED = ("linear_probe", "X_c2s")  # what is compared with the baselines
MOST_TRAINING = 3000  # training cells that a baseline learns from


def type_tables(
    cells: RunCells, usable: FigureCells, label_column: str, evaluation_key: str | None, most: int,
    seed: int, asked: str = CELL_TYPE,
) -> tuple[dict[str, pd.DataFrame], list[str]]:  # fmt: skip
    """Tables ``accuracy`` and ``confusion`` of a label, such as the cell type, and notes on them.

    Parameters
    ----------
    usable
        Of `label_column`.
    evaluation_key
        See `c2sflow.evaluation.run.Settings`.
    most
        Cells that are judged.
    asked
        Name of the predicted label that is judged beside the classifiers, if it was asked for.
    """
    notes: list[str] = []
    if usable.known:
        notes.append(f"{usable.trained.sum()} cells that the model was trained on are left out")
    labels = pd.Series(usable.judged_labels, dtype=object)
    rows = draw(cells.obs, np.flatnonzero(usable.judged), most, seed)
    if rows.size:
        rows = rows[np.isfinite(cells.obsm("X_c2s", rows)).all(axis=1)]
    kept = frequent(labels.iloc[rows])
    figures: list[Figure] = []
    tables: list[pd.DataFrame] = []
    if labels.iloc[rows[kept]].nunique() < 2:
        notes.append(f"{label_column}: fewer than two labels have {N_FOLDS} cells or more")
    else:
        figures, tables = _read(cells, usable, rows[kept], evaluation_key, most, seed)
    predicted = cells.predicted_labels(rows, f"c2s_{asked}") if rows.size else None
    if rare := labels.iloc[rows[~kept]].value_counts().sort_index().to_dict():
        listed = ", ".join(f"{name} ({n})" for name, n in rare.items())
        counted = "; they count for the model's own predictions" if predicted is not None else ""
        notes.append(
            f"no classifier is judged by labels of fewer than {N_FOLDS} cells: {listed}{counted}"
        )
    if predicted is not None:
        truth = labels.iloc[rows].to_numpy(dtype=object)
        figures += label_figures(truth, predicted, "annotation", "")
        tables.append(confusion_table(truth, predicted, "annotation", ""))
    if not figures:
        return {}, notes
    confusion = pd.concat(tables, ignore_index=True)
    return {"accuracy": figures_table(figures), "confusion": confusion}, notes


def _read(
    cells: RunCells, usable: FigureCells, rows: np.ndarray, evaluation_key: str | None, most: int,
    seed: int,
) -> tuple[list[Figure], list[pd.DataFrame]]:  # fmt: skip
    """What classifiers read from embeddings and from expression, of the same cells and folds."""
    truth = usable.labels[rows]
    expression = cells.expression(rows)
    known = np.flatnonzero(usable.trained & usable.labelled)
    known = draw(cells.obs, known, min(most, MOST_TRAINING), seed, "baseline")
    more = (cells.expression(known), usable.labels[known]) if known.size else None
    base = baselines(expression, more)
    views = {
        space: View(vectors, classifiers(standardised))
        for space, (vectors, standardised) in spaces(cells, rows, evaluation_key).items()
    }
    found = {("majority", ""): majority(truth)} | held_out_labels(views | base, truth, seed)
    figures, tables = [], []
    for (name, space), one in found.items():
        figures += label_figures(truth, one, name, space)
        if space:
            tables.append(confusion_table(truth, one[0], name, space))
    for name, space in found:
        if space in base:
            figures += gain_figures(truth, found[JUDGED], found[name, space], name, space)
    return figures, tables


def spaces(
    cells: RunCells, rows: np.ndarray, evaluation_key: str | None
) -> dict[str, tuple[np.ndarray, bool]]:
    """X_c2s and other embeddings, and whether their dimensions are to be standardised."""
    spaces = {"X_c2s": (cells.obsm("X_c2s", rows), True)}
    for key in obsm_keys(evaluation_key):
        vectors = np.nan_to_num(cells.obsm(key, rows, of_input=True))
        if key == "X_c2s":
            spaces[EARLIER] = vectors, True
        else:  # such as principal components: one scale for all dimensions
            vectors = vectors - vectors.mean(axis=0)
            spaces[key] = vectors / (np.sqrt(vectors.var(axis=0).mean()) or 1), False
    return spaces
