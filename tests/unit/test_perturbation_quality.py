"""Predicted against measured changes: against dense numpy and scipy, for known predictions."""

import numpy as np
import pytest
from scipy import sparse, stats

from c2sflow.perturbation_quality import (
    Condition,
    Group,
    answer_shifts,
    changed_genes,
    condition_figures,
    mean_change,
    mean_figures,
    paired_figures,
    row_correlation,
)
from c2sflow.rank_shifts import LOG2_OF_LOG10
from c2sflow.resampling import Figure, figures_table

N_GENES = 60
EFFECT = np.r_[np.full(5, 1.5), np.full(5, -0.6), np.zeros(50)]


def group(n, effect, seed):
    """Cells whose mean is 1 plus the effect; some values are 0."""
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.normal(1 + effect, 0.5, (n, N_GENES)), 0)
    values[:, -1] = 0  # a gene that nobody expresses
    return Group(sparse.csr_matrix(values), {"X_c2s": values[:, :8] @ np.ones((8, 4))})


@pytest.fixture(scope="module")
def setting():
    control, measured, source = group(80, 0, 1), group(50, EFFECT, 2), group(30, 0, 3)
    rng = np.random.default_rng(4)
    # The model sees the effect, half of it, with noise of its own.
    shift = sparse.csr_matrix(EFFECT / 2 + rng.normal(0, 0.2, (30, N_GENES)))
    moved = {"X_c2s": source.spaces["X_c2s"] + 3}
    said = sparse.csr_matrix(np.maximum(source.expression.toarray() + shift.toarray(), 0))
    condition = Condition(said, shift, source, moved, measured)
    condition.trained = mean_change(group(40, EFFECT, 5), control)
    other = mean_change(group(40, -EFFECT, 6), control)
    table = figures_table(condition_figures("drug", condition, control, other, 7))
    return control, condition, other, table.set_index(["metric", "space", "predictor"])["value"]


def means(matrix):
    return matrix.toarray().mean(axis=0)


def test_changes_are_those_of_the_means(setting):
    control, condition, other, found = setting
    true = means(condition.measured.expression) - means(control.expression)
    guesses = {
        "model": means(condition.shift),
        "no_change": np.zeros(N_GENES),
        "perturbation_mean": other[0],
        "training_mean": condition.trained[0],
    }
    top, _ = changed_genes(condition.measured, control)
    seen = np.arange(N_GENES)  # the model moves the gene that nobody expresses
    for name, guess in guesses.items():
        for suffix, genes in (("", seen), ("_top_20", top)):
            mse = found["mse" + suffix, "expression", name]
            assert mse == pytest.approx(np.mean((true[genes] - guess[genes]) ** 2))
            pearson = found["pearson_change" + suffix, "expression", name]
            if name == "no_change":
                assert np.isnan(pearson)
            else:
                assert pearson == pytest.approx(stats.pearsonr(true[genes], guess[genes])[0])
        direction = found["direction_top_20", "expression", name]
        assert direction == pytest.approx(np.mean(np.sign(true[top]) == np.sign(guess[top])))
    assert found["pearson_change", "expression", "perturbation_mean"] < -0.8
    halves = [condition.measured.expression[n::2] for n in (0, 1)]
    one, two = (means(half) - means(control.expression) for half in halves)
    assert found["pearson_change", "expression", "measured_half"] == pytest.approx(
        stats.pearsonr(one, two)[0]
    )


def test_top_genes_are_those_of_welchs_test(setting):
    control, condition, _, _ = setting
    top, significant = changed_genes(condition.measured, control)
    both = condition.measured.expression.toarray(), control.expression.toarray()
    tests = stats.ttest_ind(*both, equal_var=False)
    strength = np.nan_to_num(np.abs(tests.statistic))
    assert set(top[:10]) == set(np.argsort(-strength)[:10]) == set(range(10))
    p_values = np.nan_to_num(tests.pvalue, nan=1.0)
    expected = np.flatnonzero(stats.false_discovery_control(p_values) < 0.05)
    assert set(significant) == set(expected)


def test_a_better_prediction_has_better_figures(setting):
    _, _, _, found = setting
    for metric, better in (("mse", -1), ("energy_distance", -1), ("scfid", -1)):
        space = "expression" if metric == "mse" else "X_c2s"
        values = {p: better * found[metric, space, p] for p in ("model", "training_mean")}
        assert values["model"] > better * found[metric, space, "perturbation_mean"]
        assert values["training_mean"] > values["model"]
    assert found["direction_significant", "expression", "training_mean"] == 1
    assert found["direction_significant", "expression", "no_change"] == 0


def test_distances_are_of_the_predicted_cells(setting):
    from c2sflow.distances import energy_replicates, scfid

    _, condition, _, found = setting
    real, source = condition.measured.spaces["X_c2s"], condition.source.spaces["X_c2s"]
    assert found["scfid", "X_c2s", "model"] == pytest.approx(scfid(source + 3, real))
    assert found["scfid", "X_c2s", "no_change"] == pytest.approx(scfid(source, real))
    moved = source + condition.trained[1]["X_c2s"]
    expected = energy_replicates(moved, real, 0)[0]
    assert found["energy_distance", "X_c2s", "training_mean"] == pytest.approx(expected)


def test_pseudobulk_sentences(setting):
    control, condition, _, found = setting

    def first(values, k):
        return [int(gene) for gene in sorted(range(N_GENES), key=lambda g: -values[g])[:k]]

    true, said = first(means(condition.measured.expression), 20), first(means(condition.said), 20)
    overlap = found["gene_overlap_top_20", "pseudobulk", "model"]
    assert overlap == pytest.approx(len(set(true) & set(said)) / 20)
    shared = [gene for gene in said if gene in true]
    places = [true.index(gene) for gene in shared]
    tau = stats.kendalltau(range(len(places)), places).statistic
    assert found["kendall_tau_top_20", "pseudobulk", "model"] == pytest.approx(tau)
    plain = first(means(control.expression), 20)
    overlap = found["gene_overlap_top_20", "pseudobulk", "no_change"]
    assert overlap == pytest.approx(len(set(true) & set(plain)) / 20)


def test_shifts_of_answers():
    fit = {"slope": -0.5, "intercept": 2.0}
    found = answer_shifts([np.array([3, 1])], [np.array([1, 2, 0])], 5, fit).toarray()[0]
    # Of the first two: 3 rises from below to the top, 1 falls a place, 2 falls out.
    ranks = {3: (1, 3), 1: (2, 1), 2: (3, 2)}
    for gene in range(5):
        new, old = ranks.get(gene, (1, 1))
        assert found[gene] == pytest.approx(-0.5 * (np.log10(new) - np.log10(old)))
    assert pytest.approx(np.log2(10)) == LOG2_OF_LOG10


def test_correlation_of_rows():
    one, other = np.random.default_rng(0).normal(size=(2, 4, 30))
    other[3] = 1
    found = row_correlation(one, other)
    expected = [stats.pearsonr(a, b)[0] for a, b in zip(one[:3], other[:3], strict=True)]
    np.testing.assert_allclose(found[:3], expected)
    assert np.isnan(found[3])


def test_paired_cells_are_compared_one_by_one():
    truth = [np.array([1, 2, 3, 4]), np.array([5, 6, 7, 8])]
    answers = [np.array([1, 2, 4]), np.array([9, 6, 5])]
    table = figures_table(paired_figures("drug", answers, truth, 0))
    found = table.set_index(["metric", "predictor"])["value"]
    assert found["gene_overlap_full", "model"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found["kendall_tau_full", "model"] == pytest.approx((1 - 1) / 2)
    assert found["gene_overlap_full", "another_cell"] == 0
    assert ("kendall_tau_full", "another_cell") not in found.index


def test_means_over_conditions_leave_out_what_is_not_defined():
    figures = [
        Figure("mse", name, "model", value, 9, "expression")
        for name, value in (("a", 1.0), ("b", 2.0), ("c", np.nan), ("d", 6.0))
    ]
    figures.append(Figure("scfid", "a", "model", 1.0, 9, "X_c2s"))
    table = figures_table(mean_figures(figures))
    assert len(table) == 1
    assert table.iloc[0][["metric", "subject", "value", "n"]].tolist() == ["mse", "", 3.0, 3]
    assert table["ci_low"].iloc[0] < 3 < table["ci_high"].iloc[0]
