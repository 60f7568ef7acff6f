"""Predicted against measured changes: against dense numpy and scipy, for known predictions."""

from itertools import chain

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse, stats

from c2sflow.evaluation.changes import changed_genes, row_correlation
from c2sflow.evaluation.conditions import Answers, Baseline, Condition, Group, answer_shifts
from c2sflow.evaluation.figures import Figure, cell_weights, figures_table, weights
from c2sflow.evaluation.halves import N_SPLITS, Halves, shares
from c2sflow.evaluation.perturbation import condition_figures, mean_figures, paired_figures
from c2sflow.sentences.compare import LOG2_OF_LOG10

N_GENES = 60
EFFECT = np.r_[np.full(5, 1.5), np.full(5, -0.6), np.zeros(50)]


def group(n, effect, seed):
    """Cells whose mean is 1 plus the effect; some values are 0."""
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.normal(1 + effect, 0.5, (n, N_GENES)), 0)
    values[:, -1] = 0  # a gene that nobody expresses
    return Group(sparse.csr_matrix(values), {"X_c2s": values[:, :8] @ np.ones((8, 4))})


def answers(control, source, shift, place):
    said = np.maximum(control.expression[source].toarray() + shift, 0)
    spaces = {"X_c2s": control.spaces["X_c2s"][source] + place}
    return Answers(sparse.csr_matrix(said), sparse.csr_matrix(shift), spaces)


@pytest.fixture(scope="module")
def setting():
    control, measured = group(80, 0, 1), group(50, EFFECT, 2)
    rng = np.random.default_rng(4)
    source = np.repeat(np.arange(15), 2)
    # The model sees the effect, half of it, with noise of its own.
    made = answers(control, source, EFFECT / 2 + rng.normal(0, 0.2, (30, N_GENES)), 3)
    pairs = np.stack([source, (source + 4) % 15], axis=1)
    others = answers(control, pairs[:, 1], rng.normal(0, 0.2, (30, N_GENES)), 0)
    baselines = {
        "perturbation_mean": Baseline(group(40, -EFFECT, 6).mean()),
        "training_mean": Baseline(group(40, EFFECT, 5).mean(), group(60, 0, 8).mean()),
    }
    condition = Condition(control, measured, made, source, others, pairs, baselines)
    table = figures_table(condition_figures("drug", condition, 7))
    return condition, table.set_index(["metric", "space", "predictor"])


@pytest.fixture(scope="module")
def halves(setting):
    return setting[0].halves(7)


def all_rows(halves):
    return chain([halves.observed()], (rows for _, rows in halves.resampled()), halves.permuted())


def test_no_cell_stands_on_both_sides(setting, halves):
    source, pairs = setting[0].source, setting[0].pairs
    for rows in all_rows(halves):
        truth = (rows.measured + rows.control) > 0
        other = (rows.baseline + rows.half + rows.half_control) > 0
        assert not (truth & other).any()
        assert not (truth[:, source] & (rows.answers > 0)).any()
        for end in pairs.T:
            assert not (truth[:, end] & (rows.others > 0)).any()


def test_sides_are_halves_in_equal_numbers(halves):
    rows = halves.observed()
    assert len(rows.measured) == N_SPLITS
    assert set(rows.measured.sum(axis=1)) == {25}
    assert set(rows.control.sum(axis=1)) == set(rows.baseline.sum(axis=1)) == {40}
    # Of 30 answers to 15 cells 14 or 16 are on one side; 25 measured cells are there.
    n = rows.answers.sum(axis=1)
    assert set(n) <= {14, 16}
    assert (rows.half.sum(axis=1) == n).all()
    assert (rows.half_control.sum(axis=1) == n).all()
    few = Halves(np.arange(40) >= 30, np.arange(30), np.empty((0, 2), dtype=int), 0).observed()
    assert set(few.answers.sum(axis=1)) == {5}


def test_resamples_draw_cells_with_their_answers(setting, halves):
    source = setting[0].source
    for splits, rows in halves.resampled():
        assert len(splits) == len(rows.measured)
        pairs = rows.answers.reshape(len(splits), -1, 2)  # two answers to each cell
        both = (pairs > 0).all(axis=2)
        assert (pairs[both][:, 0] == pairs[both][:, 1]).all()
    assert source.max() == 14


def test_permuted_labels_are_as_many(halves):
    for rows in halves.permuted():
        measured = rows.measured.sum(axis=1)
        assert set(measured) <= {25}
        assert (rows.measured[:, :80].sum(axis=1) > 0).all()  # control cells among them


def test_changes_are_those_of_the_means_of_each_split(setting, halves):
    condition, found = setting
    rows = halves.observed()
    cells = np.vstack(
        [condition.control.expression.toarray(), condition.measured.expression.toarray()]
    )
    true = shares(rows.measured) @ cells - shares(rows.control) @ cells
    control = shares(rows.baseline) @ cells
    training, other = (condition.baselines[n] for n in ("training_mean", "perturbation_mean"))
    guesses = {
        "model": shares(rows.answers) @ condition.answers.shift.toarray(),
        "another_control": shares(rows.others) @ condition.others.shift.toarray(),
        "no_change": np.zeros_like(true),
        "training_mean": true * 0 + training.measured.genes - training.control.genes,
        "perturbation_mean": other.measured.genes - control,
        "measured_half": shares(rows.half) @ cells - shares(rows.half_control) @ cells,
    }
    top, _ = changed_genes(sparse.csr_matrix(cells), rows.measured, rows.control)
    for name, guess in guesses.items():
        for suffix in ("", "_top_20"):
            pairs = [
                (t, g) if not suffix else (t[c], g[c])
                for t, g, c in zip(true, guess, top, strict=True)
            ]
            mse = found.loc[("mse" + suffix, "expression", name), "value"]
            assert mse == pytest.approx(np.mean([np.mean((t - g) ** 2) for t, g in pairs]))
            pearson = found.loc[("pearson_change" + suffix, "expression", name), "value"]
            if name == "no_change":
                assert np.isnan(pearson)
            else:
                assert pearson == pytest.approx(
                    np.mean([stats.pearsonr(t, g)[0] for t, g in pairs])
                )
        same = [
            np.mean(np.sign(t[c]) == np.sign(g[c]))
            for t, g, c in zip(true, guess, top, strict=True)
        ]
        direction = found.loc[("direction_top_20", "expression", name), "value"]
        assert direction == pytest.approx(np.mean(same))
    assert found.loc[("pearson_change", "expression", "perturbation_mean"), "value"] < -0.8


def test_top_genes_are_those_of_scanpys_test(setting, halves):
    condition = setting[0]
    rows = halves.observed()
    cells = sparse.vstack([condition.control.expression, condition.measured.expression], "csr")
    top, significant = changed_genes(cells, rows.measured, rows.control)
    for row in range(3):
        sides = rows.measured[row] > 0, rows.control[row] > 0
        both = AnnData(sparse.vstack([cells[side] for side in sides], "csr"))
        names = np.repeat(["measured", "control"], [side.sum() for side in sides])
        both.obs["group"] = np.array(names, dtype=object)
        both.obs["group"] = both.obs["group"].astype("category")
        sc.tl.rank_genes_groups(
            both,
            "group",
            groups=["measured"],
            reference="control",
            method="t-test",
            rankby_abs=True,
        )
        expected = both.uns["rank_genes_groups"]
        genes = np.array(expected["names"]["measured"], dtype=int)
        assert set(top[row, :10]) == set(genes[:10]) == set(range(10))
        assert top[row, 0] == genes[0]
        found = set(genes[np.asarray(expected["pvals_adj"]["measured"]) < 0.05])
        assert set(np.flatnonzero(significant[row])) == found


def test_a_better_prediction_has_better_figures(setting):
    found = setting[1]["value"]
    for metric, better in (("mse", -1), ("energy_distance", -1), ("scfid", -1)):
        space = "expression" if metric == "mse" else "X_c2s"
        values = {p: better * found[metric, space, p] for p in ("model", "training_mean")}
        assert values["model"] > better * found[metric, space, "perturbation_mean"]
        assert values["training_mean"] > values["model"]
    assert found["direction_significant", "expression", "training_mean"] > 0.9
    assert found["direction_significant", "expression", "no_change"] == 0


def test_pseudobulk_sentences_have_one_depth(setting, halves):
    condition, found = setting
    rows = halves.observed()
    cells = np.vstack(
        [condition.control.expression.toarray(), condition.measured.expression.toarray()]
    )
    said = shares(rows.answers) @ condition.answers.expression.toarray()
    true, plain = shares(rows.measured) @ cells, shares(rows.baseline) @ cells

    def first(values):
        return [int(gene) for gene in sorted(range(N_GENES), key=lambda g: -values[g])[:20]]

    for name, levels in (("model", said), ("no_change", plain)):
        overlaps, taus = [], []
        for one, other in zip(levels, true, strict=True):
            one, other = first(one), first(other)
            overlaps.append(len(set(one) & set(other)) / 20)
            shared = [gene for gene in one if gene in other]
            places = [other.index(gene) for gene in shared]
            taus.append(stats.kendalltau(range(len(places)), places).statistic)
        overlap = found.loc[("gene_overlap_top_20", "pseudobulk", name)]
        assert overlap["value"] == pytest.approx(np.mean(overlaps))
        assert overlap["depth"] == 20
        assert overlap["chance"] == pytest.approx(20 / N_GENES, abs=0.01)
        tau = found.loc[("kendall_tau_top_20", "pseudobulk", name), "value"]
        assert tau == pytest.approx(np.mean(taus))
    full = found[found.index.get_level_values("metric") == "gene_overlap_full"]
    assert full["depth"].nunique() == 1


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
    said = [np.array([1, 2, 4]), np.array([9, 6, 5])]
    table = figures_table(paired_figures("drug", said, truth, [0, 1], 0))
    found = table.set_index(["metric", "predictor"])
    assert found["value"]["gene_overlap_full", "model"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found["value"]["kendall_tau_full", "model"] == pytest.approx((1 - 1) / 2)
    assert found["value"]["gene_overlap_full", "another_cell"] == 0
    assert ("kendall_tau_full", "another_cell") not in found.index
    # Cut to the answer's length, and with the other cell in the truth's place: nothing shared.
    assert (found["depth"]["gene_overlap_full"] == 3).all()
    assert found["null"]["gene_overlap_full", "model"] == 0


def test_several_answers_to_a_paired_cell_have_another_cell_beside_them():
    truth = [np.array([1, 2, 3])] * 2 + [np.array([4, 5, 6])] * 2
    table = figures_table(paired_figures("drug", truth, truth, [0, 0, 1, 1], 0))
    found = table.set_index(["metric", "predictor"])["value"]
    assert found["gene_overlap_full", "model"] == 1
    assert found["gene_overlap_full", "another_cell"] == 0


def test_answers_are_drawn_with_their_cell():
    found = cell_weights([4, 4, 9, 4], 3, n_resamples=30)
    assert (found[:, 0] == found[:, 1]).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found[0], 1 / 4)
    np.testing.assert_allclose(cell_weights([5, 6, 7], 3), weights(3, 3))


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


def test_means_over_conditions_have_a_null_and_a_chance_level():
    figures = [
        Figure("gene_overlap_full", name, "model", 0.5, 9, null=null, depth=depth, chance=0.1)
        for name, null, depth in (("a", 0.2, 10), ("b", 0.4, 30))
    ]
    found = figures_table(mean_figures(figures)).iloc[0]
    assert found["null"] == pytest.approx(0.3)
    assert found["depth"] == 20
    assert found["chance"] == pytest.approx(0.1)
