"""Cell types: read from embeddings by two simple classifiers, or said by the model.

A k-nearest-neighbour classifier asks whether cells of a type lie together, a linear probe (Alain &
Bengio, 2016) whether a plane parts them; both are scikit-learn's, in stratified cross-validation,
so that every cell is classified by a model that has not seen it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from c2sflow.resampling import Figure, bootstrap_interval, share_interval, weights

N_FOLDS = 5
N_NEIGHBOURS = 5
N_COMPONENTS = 50
NOT_SAID = "(none)"  # a cell that got no label


def classifiers() -> dict[str, ClassifierMixin]:
    """Name to scikit-learn classifier."""
    return {
        "knn": KNeighborsClassifier(N_NEIGHBOURS),
        "linear_probe": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    }


def frequent(labels: pd.Series) -> np.ndarray:
    """Which cells have a label that enough cells have for each fold to hold one; bool (n,)."""
    sizes = labels.astype(str).where(labels.notna()).value_counts()
    return labels.astype(str).isin(sizes.index[sizes >= N_FOLDS]).to_numpy() & labels.notna()


def held_out_labels(
    vectors: np.ndarray, labels: np.ndarray, classifier: ClassifierMixin, seed: int
) -> np.ndarray:
    """Label of each cell by a classifier trained on the four folds that the cell is not in.

    Parameters
    ----------
    vectors
        float (n, d), finite.
    labels
        str (n,), at least two of them, each of `N_FOLDS` cells or more.
    """
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    return cross_val_predict(classifier, vectors, labels, cv=folds)


def fit_components(matrix: sparse.csr_matrix, seed: int) -> PCA:
    """First 50 principal components of cells: scikit-learn's PCA, which never centres a copy."""
    n_components = min(N_COMPONENTS, min(matrix.shape) - 1)
    return PCA(n_components, svd_solver="arpack", random_state=seed).fit(matrix)


def majority(labels: np.ndarray) -> np.ndarray:
    """The commonest label for every cell: what needs no embedding."""
    names, sizes = np.unique(labels, return_counts=True)
    return np.full(len(labels), names[sizes.argmax()], dtype=object)


def label_figures(
    truth: Sequence[str], found: Sequence[str], predictor: str, space: str, seed: int
) -> list[Figure]:
    """How well labels were found, over all cells and for each label.

    Parameters
    ----------
    truth, found
        str (n,): the cells' labels, and what was found; "" where nothing was.

    Returns
    -------
    accuracy; balanced_accuracy, the mean over the labels of the share of their cells that were
    found; f1_macro; and for each label recall (its share found), precision and f1.
    """
    truth, found = (np.asarray(values, dtype=object).astype(str) for values in (truth, found))
    names, codes = np.unique(truth, return_inverse=True)
    right = truth == found
    precision, recall, f1, sizes = precision_recall_fscore_support(
        truth, found, labels=names, zero_division=0
    )
    common = {"predictor": predictor, "space": space}

    def whole(metric: str, value: float, interval: tuple[float, float]) -> Figure:
        low, high = interval
        return Figure(metric, "", value=value, n=len(truth), ci_low=low, ci_high=high, **common)

    balanced, macro = _resampled(codes, names, right, found, seed)
    figures = [
        whole("accuracy", right.mean(), share_interval(int(right.sum()), len(truth))),
        whole("balanced_accuracy", recall.mean(), bootstrap_interval(balanced, (0, 1))),
        whole("f1_macro", f1.mean(), bootstrap_interval(macro, (0, 1))),
    ]
    for place, name in enumerate(names):
        n = int(sizes[place])
        low, high = share_interval(int(right[codes == place].sum()), n)
        figures += [
            Figure("recall", name, value=recall[place], n=n, ci_low=low, ci_high=high, **common),
            Figure("precision", name, value=precision[place], n=n, **common),
            Figure("f1", name, value=f1[place], n=n, **common),
        ]
    return figures


def _resampled(
    codes: np.ndarray, names: np.ndarray, right: np.ndarray, found: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Balanced accuracy and macro F1 of bootstrap resamples of the cells."""
    shares = weights(len(codes), seed)
    own = (codes[:, None] == np.arange(len(names))).astype(float)
    said = (found[:, None] == names).astype(float)
    n_own, n_said, n_right = shares @ own, shares @ said, shares @ (own * right[:, None])
    drawn = n_own > 0  # a label that a resample does not hold does not count in it
    recall = np.divide(n_right, n_own, out=np.zeros_like(n_own), where=drawn)
    f1 = np.divide(2 * n_right, n_own + n_said, out=np.zeros_like(n_own), where=drawn)
    n_drawn = drawn.sum(axis=1)
    return recall.sum(axis=1) / n_drawn, f1.sum(axis=1) / n_drawn


def confusion_table(
    truth: Sequence[str], found: Sequence[str], predictor: str, space: str
) -> pd.DataFrame:
    """Cells of each label (rows of the confusion matrix) by what was found for them.

    Returns
    -------
    predictor, space, label, found, n_cells: the pairs that occur.
    """
    truth, found = (np.asarray(values, dtype=object).astype(str) for values in (truth, found))
    found = np.where(found == "", NOT_SAID, found)
    names = np.unique(np.concatenate([truth, found]))
    counts = confusion_matrix(truth, found, labels=names)
    rows, columns = np.nonzero(counts)
    return pd.DataFrame(
        {
            "predictor": predictor,
            "space": space,
            "label": names[rows],
            "found": names[columns],
            "n_cells": counts[rows, columns],
        }
    )


def embedding_accuracy(
    vectors: np.ndarray, labels: np.ndarray, space: str, seed: int
) -> tuple[list[Figure], pd.DataFrame]:
    """Figures and confusion tables of both classifiers on one embedding; see `held_out_labels`."""
    figures, tables = [], []
    for name, classifier in classifiers().items():
        found = held_out_labels(vectors, labels, classifier, seed)
        figures += label_figures(labels, found, name, space, seed)
        tables.append(confusion_table(labels, found, name, space))
    return figures, pd.concat(tables, ignore_index=True)
