"""Cell type accuracy: against loops and scikit-learn's and pandas' own figures."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn import metrics
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline

from c2sflow.common.threads import one_thread
from c2sflow.evaluation.accuracy import (
    NO_ANSWER,
    View,
    classifiers,
    confusion_table,
    fit_components,
    frequent,
    held_out_labels,
    label_figures,
    majority,
)
from c2sflow.evaluation.cell_types import Components
from c2sflow.evaluation.figures import figures_table


@pytest.fixture(scope="module")
def embedded(pbmc):
    """10 principal components and labels of real cells, each label in 5 cells or more."""
    labels = pbmc.obs["bulk_labels"]
    kept = frequent(labels)
    vectors = fit_components(pbmc.X, 0).transform(pbmc.X)[kept, :10]
    return vectors, labels[kept].astype(str).to_numpy(dtype=object)


def value(table, metric, subject="", column="value"):
    found = table[(table["metric"] == metric) & (table["subject"] == subject)]
    assert len(found) == 1
    return found[column].iloc[0]


def test_each_cell_is_classified_by_the_neighbours_in_the_other_folds(embedded):
    vectors, labels = embedded
    found = held_out_labels({"X": View(vectors, classifiers())}, labels, 3, 1)["knn", "X"][0]
    expected = np.empty(len(labels), dtype=object)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=3).split(vectors, labels):
        near = NearestNeighbors(n_neighbors=5).fit(vectors[train])
        _, indices = near.kneighbors(vectors[test])
        for cell, votes in zip(test, labels[train][indices], strict=True):
            names, counts = np.unique(votes, return_counts=True)
            expected[cell] = names[counts.argmax()]
    assert (found == expected).mean() > 0.99  # ties of distance may fall either way


def test_figures_are_scikit_learns(embedded):
    vectors, labels = embedded
    found = held_out_labels({"X": View(vectors, classifiers())}, labels, 0, 1)["linear_probe", "X"]
    found = found[0]
    table = figures_table(label_figures(labels, found, "linear_probe", "X"))
    accuracy = metrics.accuracy_score(labels, found)
    assert value(table, "accuracy") == pytest.approx(accuracy)
    balanced = metrics.balanced_accuracy_score(labels, found)
    assert value(table, "balanced_accuracy") == pytest.approx(balanced)
    macro = metrics.f1_score(labels, found, average="macro")
    assert value(table, "f1_macro") == pytest.approx(macro)
    by_label = metrics.classification_report(labels, found, output_dict=True, zero_division=0)
    for name in set(labels):
        assert value(table, "recall", name) == pytest.approx(by_label[name]["recall"])
        assert value(table, "precision", name) == pytest.approx(by_label[name]["precision"])
        assert value(table, "f1", name) == pytest.approx(by_label[name]["f1-score"])
        assert value(table, "f1", name, "n") == by_label[name]["support"]
    # Wilson's interval, by its formula.
    n, z = len(labels), norm.ppf(0.975)
    middle = (accuracy + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
    assert value(table, "accuracy", column="ci_low") == pytest.approx(middle - half)
    assert value(table, "accuracy", column="ci_high") == pytest.approx(middle + half)
    for metric in ("balanced_accuracy", "f1_macro"):
        low, high = (value(table, metric, column=end) for end in ("ci_low", "ci_high"))
        assert low < value(table, metric) < high


def test_interval_of_the_balanced_accuracy_is_that_of_resampled_cells(embedded):
    _, labels = embedded
    rng = np.random.default_rng(0)
    found = np.where(rng.random(len(labels)) < 0.7, labels, rng.permutation(labels))
    table = figures_table(label_figures(labels, found, "x", ""))
    drawn = [rng.integers(len(labels), size=len(labels)) for _ in range(400)]
    scores = [metrics.recall_score(labels[d], found[d], average="macro") for d in drawn]
    width = np.subtract(*np.quantile(scores, [0.975, 0.025]))
    ends = [value(table, "balanced_accuracy", column=end) for end in ("ci_low", "ci_high")]
    assert ends[1] - ends[0] == pytest.approx(width, rel=0.25)


def test_confusion_is_the_cross_table():
    truth, found = list("aabbbc"), ["a", "b", "b", "b", "", "x"]
    table = confusion_table(truth, found, "annotation", "")
    expected = pd.crosstab(pd.Series(truth), pd.Series(found).replace("", NO_ANSWER)).stack()
    expected = expected[expected > 0]
    assert table.set_index(["label", "found"])["n_cells"].to_dict() == expected.to_dict()
    figures = figures_table(label_figures(truth, found, "annotation", ""))
    assert value(figures, "accuracy") == pytest.approx(3 / 6)
    assert value(figures, "recall", "c") == 0  # "x" is no label: wrong, and no label of its own
    assert set(figures["subject"]) == {"", "a", "b", "c"}


def test_embedding_beats_the_commonest_label_and_noise_does_not(embedded):
    vectors, labels = embedded
    noise = np.random.default_rng(0).normal(size=vectors.shape)
    views = {"X_c2s": View(vectors, classifiers()), "noise": View(noise, classifiers())}
    answers = held_out_labels(views, labels, seed=0)
    table = figures_table(
        figure
        for (name, space), one in answers.items()
        if space == "X_c2s"
        for figure in label_figures(labels, one, name, space)
    )
    base = figures_table(label_figures(labels, majority(labels), "majority", ""))
    for name in classifiers():
        found = table[table["predictor"] == name]
        assert value(found, "accuracy", column="ci_low") > value(base, "accuracy") + 0.2
    assert value(base, "balanced_accuracy") == pytest.approx(1 / len(set(labels)))
    for name in classifiers():
        for found in answers[name, "noise"]:
            assert metrics.balanced_accuracy_score(labels, found) < 0.25


@pytest.mark.parametrize("cores", ["1", "3"])
def test_a_transformer_is_fitted_to_each_folds_cells_and_cores_change_nothing(
    pbmc, embedded, cores, monkeypatch
):
    """scikit-learn's own pipeline and cross-validation: expression to components to labels."""
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    labels = embedded[1]
    expression = pbmc.X[frequent(pbmc.obs["bulk_labels"])]
    view = View(expression, classifiers(standardised=False), Components())
    found = held_out_labels({"pcs": view}, labels, seed=7, n_repeats=2)
    for repeat in range(2):
        folds = StratifiedKFold(5, shuffle=True, random_state=7 + repeat)
        for name, classifier in classifiers(standardised=False).items():
            pipeline = make_pipeline(Components(), classifier)
            with one_thread():  # sums in another order part cells that are equally near
                expected = cross_val_predict(pipeline, expression, labels, cv=folds)
            np.testing.assert_array_equal(found[name, "pcs"][repeat], expected)


def test_rare_and_missing_labels_are_left_out():
    labels = pd.Series(["a"] * 5 + ["b"] * 4 + [None], dtype="category")
    assert frequent(labels).tolist() == [True] * 5 + [False] * 5


def test_components_are_those_of_the_centred_matrix(pbmc):
    found = fit_components(pbmc.X, 0).transform(pbmc.X)
    dense = pbmc.X.toarray()
    _, values, rows = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    expected = (dense - dense.mean(axis=0)) @ rows[:50].T
    np.testing.assert_allclose(np.abs(found[:, :5]), np.abs(expected[:, :5]), atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), values[:50], rtol=1e-3)
