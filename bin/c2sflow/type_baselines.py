"""Cell types read from expression itself: what an embedding must beat to be of use.

The model was trained on cells and their labels before a classifier reads its embedding. So each
baseline learns from the same training cells too, where they are known, beside the cells that the
classifier on the embedding learns from.
"""

from __future__ import annotations

import numpy as np
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

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


def baselines(n_neighbours: int) -> dict[tuple[str, str], ClassifierMixin]:
    """(predictor, space) to what reads types from log-normalised expression.

    Neither components nor genes are scaled: that would give noise the weight of what parts types.
    """

    def logistic() -> LogisticRegression:
        return LogisticRegression(max_iter=MAX_ITERATIONS, tol=1e-3)

    return {
        ("knn", "expression_pcs"): make_pipeline(Components(), KNeighborsClassifier(n_neighbours)),
        ("linear_probe", "expression_pcs"): make_pipeline(Components(), logistic()),
        ("linear_probe", "genes"): logistic(),
        ("linear_probe", "variable_genes"): make_pipeline(VariableGenes(), logistic()),
    }
