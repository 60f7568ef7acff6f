"""95 % intervals of few cells hold the truth in about 95 of 100 simulations, or there is none.

Where the truth is not known, it is the figure of many cells.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import beta, binom, binomtest
from simulated_run import N_GENES, Run
from statsmodels.stats.proportion import proportion_confint

from c2sflow.evaluation.accuracy import LEARNING, gain_figures, label_figures
from c2sflow.evaluation.figures import bootstrap_interval, mean_interval, weights
from c2sflow.evaluation.generation import Kind, Rival, overlap_figures
from c2sflow.evaluation.sentences import novelty_figures
from c2sflow.evaluation.share_intervals import exact_limits, gain_limits
from c2sflow.evaluation.text_tables import score_interval


def covers(held):
    """No interval is clearly too narrow: by the binomial test, at 1 in 1,000."""
    held = np.array([one for one in held if one is not None])
    return binomtest(int(held.sum()), held.size, 0.95, alternative="less").pvalue > 0.001


def holds(ends, truth):
    low, high = ends
    return None if np.isnan(low) else low <= truth <= high


def labels_found(rng, n, shares, recall):
    """Labels of n cells, and what was found: wrong labels are as likely as each other."""
    n_labels = len(shares)
    truth = rng.choice(n_labels, n, p=shares)
    other = (truth + rng.integers(1, n_labels, n)) % n_labels
    return truth, np.where(rng.random(n) < np.array(recall)[truth], truth, other)


@pytest.mark.parametrize(
    ("n", "shares", "recall"),
    [
        (5, [0.5, 0.3, 0.2], [0.8, 0.8, 0.8]),
        (16, [0.5, 0.3, 0.2], [0.8, 0.8, 0.8]),
        (16, [0.5, 0.3, 0.2], [0.95, 0.8, 0.5]),
        (100, [0.2] * 5, [0.97] * 5),
    ],
)
def test_means_over_labels_are_covered(n, shares, recall):
    """The fault: a bootstrap of balanced accuracy held the truth in 86 % at 16 cells."""
    rng, shares, recall = np.random.default_rng(n), np.array(shares), np.array(recall)
    n_labels = len(shares)
    wrong = (shares * (1 - recall))[:, None] * (1 - np.eye(n_labels)) / (n_labels - 1)
    counts = wrong + np.diag(shares * recall)
    f1 = np.mean(2 * np.diag(counts) / (counts.sum(axis=0) + shares))
    held, held_f1 = [], []
    for _ in range(150):
        truth, found = labels_found(rng, n, shares, recall)
        figures = {one.metric: one for one in label_figures(truth, found, "", "")[:3]}
        balanced, macro = figures["balanced_accuracy"], figures["f1_macro"]
        seen = np.unique(truth)  # a mean over the labels that there are
        held.append(holds((balanced.ci_low, balanced.ci_high), recall[seen].mean()))
        if len(seen) == n_labels:
            held_f1.append(holds((macro.ci_low, macro.ci_high), f1))
    assert covers(held)
    assert covers(held_f1)


@pytest.mark.parametrize("n", [16, 100])
def test_gains_of_nothing_hold_0(n):
    """Two classifiers that are right as often, each in cells of its own."""
    rng = np.random.default_rng(n)
    held = {"accuracy_gain": [], "balanced_accuracy_gain": []}
    for _ in range(150):
        truth = rng.choice(3, n, p=[0.5, 0.3, 0.2])
        one, other = (np.where(rng.random(n) < 0.8, truth, 3) for _ in range(2))
        for gain in gain_figures(truth, one, other, "", ""):
            held[gain.metric].append(holds((gain.ci_low, gain.ci_high), 0))
            assert gain.ci_low <= gain.value <= gain.ci_high
    for name, every in held.items():
        assert covers(every), name


def test_limits_are_those_of_statsmodels_and_of_two_equal_classifiers():
    for hits, n in ((0, 7), (3, 10), (9, 9)):
        expected = proportion_confint(hits, n, method="beta")
        assert exact_limits(hits / n, n) == pytest.approx(np.nan_to_num(expected, nan=1))
    assert binom.sf(3 - 1, 10, exact_limits(0.3, 10)[0]) == pytest.approx(0.025)
    never = np.zeros((2, 30), dtype=bool)
    low, high = gain_limits(never, never, LEARNING)
    assert low == -high
    assert 0.05 < high < 0.15  # no cell differs: no certainty that none does


def test_one_label_is_one_share():
    truth = np.array(["a"] * 12)
    found = np.array(["a"] * 9 + ["b"] * 3)
    balanced = label_figures(truth, found, "", "")[1]
    expected = beta.ppf(0.025, 9, 4), beta.ppf(0.975, 10, 3)
    assert (balanced.ci_low, balanced.ci_high) == pytest.approx(expected)


@pytest.mark.parametrize("n", [3, 5, 16])
def test_bertscores_are_covered(n):
    """The fault: percentiles of a bootstrap hold 83 % at 5 cells. Several answers are one cell."""
    rng = np.random.default_rng(n)
    held, held_twice = [], []
    for _ in range(400):
        cells = rng.normal(0.8, 0.05, n)
        held.append(holds(score_interval(pd.Series(cells)), 0.8))
        answers = np.repeat(cells, 4) + rng.normal(0, 0.01, 4 * n)
        held_twice.append(holds(score_interval(pd.Series(answers, np.repeat(range(n), 4))), 0.8))
    assert covers(held)
    assert covers(held_twice)


def test_two_cells_or_equal_scores_have_no_interval():
    for values in ([], [0.5], [0.5, 0.6], [1.0] * 9):
        scores = pd.Series(values, dtype=float)
        assert np.isnan(score_interval(scores)).all()
        assert np.isnan(mean_interval(scores.to_numpy())).all()
    # Three answers each to two cells are two cells.
    assert np.isnan(score_interval(pd.Series(np.arange(6) / 10, [0, 0, 0, 1, 1, 1]))).all()
    uneven = pd.Series([0.1, 0.2, 0.3, 0.9], [0, 1, 2, 2])
    low, high = score_interval(uneven)
    assert low < uneven.mean() < high


@pytest.mark.parametrize("n", [6, 16])
def test_bootstraps_of_few_cells_are_widened(n):
    """Percentiles alone hold the mean of 6 values in 85 %."""
    rng, held = np.random.default_rng(n), []
    for seed in range(400):
        ends = bootstrap_interval(weights(n, seed) @ rng.normal(size=n), n)
        held.append(holds(ends, 0))
    assert covers(held)


@pytest.mark.parametrize("n", [5, 16])
def test_novelty_is_covered_or_has_no_interval(n):
    """Two answers to each cell, which are alike: they are drawn together."""
    rng, genes = np.random.default_rng(n), np.arange(40)
    figures = []
    for _ in range(80):
        controls = [rng.permutation(40) for _ in range(n)]
        spread = rng.uniform(1, 20, n)
        said = [
            cell[np.argsort(genes + rng.normal(0, own, 40))][:20]
            for _ in range(2)
            for cell, own in zip(controls, spread, strict=True)
        ]
        figures.append(novelty_figures(said, controls * 2, [*range(n)] * 2, "", len(figures)))
    for made in zip(*figures, strict=True):  # of the model, and of another control
        truth = np.mean([one.value for one in made])
        held = [holds((one.ci_low, one.ci_high), truth) for one in made]
        if n == 5:
            assert set(held) == {None}
        else:
            assert covers(held)


def test_overlaps_of_generated_cells_are_covered():
    """The fault: one real cell is in several places, and was drawn for each on its own."""
    run, n_made, n, n_runs = Run(0), 60, 16, 60

    def kind(size):
        counts = run.cells(size)
        sentences = [np.argsort(-cell, kind="stable")[:40] for cell in counts]
        return Kind(sentences, {}, sparse.csr_matrix((size, N_GENES)))

    found = [
        figure
        for seed in range(n_runs)
        for figure in overlap_figures("", kind(n_made), kind(n), Rival(kind(n), 0.5), seed)
        if figure.metric == "gene_overlap_top_20"
    ]
    # All cells are of one type: every predictor's mean is the overlap of two cells.
    truth = np.mean([figure.value for figure in found])
    for predictor in ("model", "another_cell", "all_types"):
        own = [figure for figure in found if figure.predictor == predictor]
        assert len(own) == n_runs
        assert covers([holds((one.ci_low, one.ci_high), truth) for one in own]), predictor
