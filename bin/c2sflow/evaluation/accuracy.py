"""Cell types: read from embeddings by two simple classifiers, or predicted by the model.

A k-nearest-neighbour classifier asks whether cells of a type cluster, a linear probe (Alain &
Bengio, 2016) whether a plane parts them; both are scikit-learn's, in stratified cross-validation,
so that every cell is classified by a model that has not seen it. Few cells are cross-validated
several times: which cells share a fold is chance, and part of the interval. So is which cells the
classifiers learned from, by the correction of Nadeau & Bengio (2003).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import ClassifierMixin, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from c2sflow.common.threads import in_processes, one_thread
from c2sflow.evaluation.figures import Figure, Labels
from c2sflow.evaluation.share_intervals import (
    gain_limits,
    macro_f1_interval,
    mean_of_limits,
    recall_limits,
    repeated_share_interval,
)

N_FOLDS = 5
N_NEIGHBOURS = 5
N_COMPONENTS = 50
MAX_REPEATS = 5  # of the cross-validation
MANY_CELLS = 1000  # folds of more than half as many are not repeated: they differ by little
# Variance of a cross-validated figure, in that of as many cells judged by one given classifier: the
# cells of a fold, by those that its classifier learned from, are added (Nadeau & Bengio, 2003).
LEARNING = 1 + 1 / (N_FOLDS - 1)
NO_ANSWER = "(none)"  # a cell that got no label


def classifiers(standardised: bool = True) -> dict[str, ClassifierMixin]:
    """Name to scikit-learn classifier.

    Parameters
    ----------
    standardised
        Whether the linear probe gives all dimensions the same variance: right for the dimensions of
        a model, any of which may matter; wrong for principal components, the last of which
        are noise.
    """
    logistic = LogisticRegression(max_iter=1000)
    return {
        "knn": KNeighborsClassifier(N_NEIGHBOURS),
        "linear_probe": make_pipeline(StandardScaler(), logistic) if standardised else logistic,
    }


def frequent(labels: pd.Series) -> np.ndarray:
    """Which cells have a label that enough cells have for each fold to hold one; bool (n,)."""
    sizes = labels.astype(str).where(labels.notna()).value_counts()
    return (labels.astype(str).isin(sizes.index[sizes >= N_FOLDS]) & labels.notna()).to_numpy()


@dataclass(frozen=True)
class View:
    """What classifiers read labels from.

    Parameters
    ----------
    vectors
        float (n, d), finite.
    classifiers
        By name.
    transformer
        Fitted to the cells that the classifiers learn from, before them; None: they read `vectors`.
    more
        Further cells that they learn from in every fold, and their labels.
    """

    vectors: np.ndarray | sparse.csr_matrix
    classifiers: Mapping[str, ClassifierMixin]
    transformer: TransformerMixin | None = None
    more: tuple[sparse.csr_matrix, np.ndarray] | None = None

    def labels_of_fold(
        self, labels: np.ndarray, known: np.ndarray, asked: np.ndarray
    ) -> dict[str, np.ndarray]:
        """By classifier, the labels of the cells `asked`, learned from those that are `known`."""
        seen, names = self.vectors[known], labels[known]
        unseen = self.vectors[asked]
        if self.more is not None:
            seen = sparse.vstack([seen, self.more[0]], "csr")
            names = np.concatenate([names, self.more[1]])
        if self.transformer is not None:
            fitted = clone(self.transformer).fit(seen, names)
            seen, unseen = fitted.transform(seen), fitted.transform(unseen)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return {
                name: clone(classifier).fit(seen, names).predict(unseen)
                for name, classifier in self.classifiers.items()
            }


def held_out_labels(
    views: Mapping[str, View], labels: np.ndarray, seed: int, n_repeats: int | None = None
) -> dict[tuple[str, str], np.ndarray]:
    """Label of each cell by a classifier trained on the four folds that the cell is not in.

    Parameters
    ----------
    labels
        str (n,), at least two of them, each of `N_FOLDS` cells or more.
    n_repeats
        Choices of the folds; None: several, fewer of many cells.

    Returns
    -------
    dict
        (classifier, view) to str (n_repeats, n).
    """
    if n_repeats is None:
        n_repeats = max(1, min(MAX_REPEATS, MANY_CELLS // len(labels)))
    folds = []
    for repeat in range(n_repeats):
        chosen = StratifiedKFold(N_FOLDS, shuffle=True, random_state=(seed + repeat) % 2**32)
        split = chosen.split(np.zeros(len(labels)), labels)
        folds += [(repeat, known, asked) for known, asked in split]
    tasks = [(space, *fold) for space in views for fold in folds]

    def read(task: tuple[str, int, np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
        space, _, known, asked = task
        return views[space].labels_of_fold(labels, known, asked)

    found = {
        (name, space): np.empty((n_repeats, len(labels)), dtype=object)
        for space, view in views.items()
        for name in view.classifiers
    }
    # Classifiers hold Python's lock for most of their time: threads would wait for each other.
    # Forked processes keep the limit, which takes as long to set as the smallest folds to fit.
    with one_thread():
        for task, answers in zip(tasks, in_processes(read, tasks), strict=True):
            space, repeat, _, asked = task
            for name, answer in answers.items():
                found[name, space][repeat, asked] = answer
    return found


def fit_components(matrix: sparse.csr_matrix, seed: int) -> PCA:
    """First 50 principal components of cells: scikit-learn's PCA, which never centres a copy."""
    n_components = min(N_COMPONENTS, min(matrix.shape) - 1)
    return PCA(n_components, svd_solver="arpack", random_state=seed).fit(matrix)


def majority(labels: np.ndarray) -> np.ndarray:
    """The commonest label for every cell: what needs no embedding."""
    names, sizes = np.unique(labels, return_counts=True)
    return np.full(len(labels), names[sizes.argmax()], dtype=object)


def label_figures(truth: Labels, found: Labels, predictor: str, space: str) -> list[Figure]:
    """How well labels were found, over all cells and for each label.

    Parameters
    ----------
    truth
        str (n,): the cells' labels.
    found
        str (n,): what was found, "" where nothing was; or (n_repeats, n), of `held_out_labels`: the
        figures are then the means over the repeats.

    Returns
    -------
    accuracy; balanced_accuracy, the mean over the labels of the share of their cells that were
    found; f1_macro; and for each label recall (its share found), precision and f1.
    """
    texts, answers = _texts(truth), _texts(found)
    learning, repeats = LEARNING if answers.ndim == 2 else 1.0, np.atleast_2d(answers)
    names, codes = np.unique(texts, return_inverse=True)
    right = texts == repeats
    by_label = [
        precision_recall_fscore_support(texts, one, labels=names, zero_division=0)
        for one in repeats
    ]
    precision, recall, f1, sizes = np.mean(by_label, axis=0)

    def whole(metric: str, value: float, interval: tuple[float, float]) -> Figure:
        return Figure(metric, "", predictor, value, texts.size, space, *interval)

    counts = np.zeros((len(repeats), len(names), len(names)), dtype=int)
    for table, one in zip(counts, repeats, strict=True):
        predicted = pd.Index(names).get_indexer(one)
        np.add.at(table, (codes[predicted >= 0], predicted[predicted >= 0]), 1)
    macro = macro_f1_interval(counts, sizes, learning)
    figures = [
        whole("accuracy", right.mean(), repeated_share_interval(right, learning)),
        whole("balanced_accuracy", recall.mean(), _balanced_interval(right, codes, learning)),
        whole("f1_macro", f1.mean(), macro),
    ]
    for place, name in enumerate(names):
        n = int(sizes[place])
        ends = repeated_share_interval(right[:, codes == place], learning)
        figures += [
            Figure("recall", name, predictor, recall[place], n, space, *ends),
            Figure("precision", name, predictor, precision[place], n, space),
            Figure("f1", name, predictor, f1[place], n, space),
        ]
    return figures


def gain_figures(
    truth: Labels, found: np.ndarray, other: np.ndarray, predictor: str, space: str
) -> list[Figure]:  # fmt: skip
    """How much more often than a baseline labels were found, in the same cells and folds.

    Parameters
    ----------
    truth
        str (n,).
    found, other
        str (n_repeats, n): of what is judged, and of the baseline.
    predictor, space
        Of the baseline.

    Returns
    -------
    accuracy_gain and balanced_accuracy_gain: above 0 if the baseline is beaten.
    """
    texts = _texts(truth)
    _, codes = np.unique(texts, return_inverse=True)
    right, base = (np.atleast_2d(_texts(one)) == texts for one in (found, other))
    better, worse = right & ~base, base & ~right

    def gain(chosen: np.ndarray) -> tuple[float, tuple[float, float]]:
        one, two = better[:, chosen], worse[:, chosen]
        return one.mean() - two.mean(), gain_limits(one, two, LEARNING)

    every = [gain(np.ones(len(texts), dtype=bool))]
    by_label = [gain(codes == place) for place in range(codes.max() + 1)]
    figures = []
    for metric, own in (("accuracy_gain", every), ("balanced_accuracy_gain", by_label)):
        values, limits = zip(*own, strict=True)
        low, high = np.clip(np.array(mean_of_limits(values, limits)), -1, 1)
        value = float(np.mean(values))
        figures.append(Figure(metric, "", predictor, value, len(texts), space, low, high))
    return figures


def _texts(values: Labels) -> np.ndarray:
    return np.asarray(values, dtype=object).astype(str)


def _balanced_interval(
    right: np.ndarray, codes: np.ndarray, learning: float
) -> tuple[float, float]:
    """95 % interval of the mean over the labels of the share of their cells that was right."""
    own = [right[:, codes == place] for place in range(codes.max() + 1)]
    return mean_of_limits(
        [one.mean() for one in own], [recall_limits(one, learning) for one in own]
    )


def confusion_table(truth: Labels, found: Labels, predictor: str, space: str) -> pd.DataFrame:
    """Cells of each label (rows of the confusion matrix) by what was found for them.

    Returns
    -------
    predictor, space, label, found, n_cells: the pairs that occur.
    """
    texts, answers = _texts(truth), _texts(found)
    answers = np.where(answers == "", NO_ANSWER, answers)
    names = np.unique(np.concatenate([texts, answers]))
    counts = confusion_matrix(texts, answers, labels=names)
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
