"""Cells of one donor are alike: intervals and tests over donors hold what they promise."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import sparse, stats

from c2sflow.common.statistics import (
    difference_of,
    mean_of,
    replicate_means,
    selected_level,
    shrunken,
)
from c2sflow.perturbation.effects import effects_table
from c2sflow.perturbation.screen import few_units, rank_screen, screen_rows
from c2sflow.perturbation.shifts import Shifts

NAMES = {"condition": "c", "perturbation": "c"}


def shifts_of(folds, **cells):
    """Shifts of a condition against its no-op."""
    folds = sparse.csc_matrix(np.asarray(folds, dtype=np.float32))
    frame = pd.DataFrame({"sample": 0} | cells, index=range(folds.shape[0]))
    return Shifts(NAMES, frame, folds.copy(), folds, compared_with="no-op: DMSO")


def screens(n_simulated, n_donors, n_cells, donor_sd, paired, seed=0):
    """Screens of one condition with as many sets as simulations: two contexts, no difference.

    Donors of one context, or of both (`paired`), add an effect of their own to all their cells.
    """
    rng = np.random.default_rng(seed)
    sides, labels = [], []
    shared = rng.normal(0, donor_sd, (n_donors, n_simulated))
    for side in "AB":
        own = shared if paired else rng.normal(0, donor_sd, (n_donors, n_simulated))
        cells = np.repeat(own, n_cells, axis=0)
        sides.append(cells + rng.normal(0, 1, cells.shape))
        names = np.repeat([f"{'' if paired else side}{d}" for d in range(n_donors)], n_cells)
        labels += [(side, name) for name in names]
    context, donor = zip(*labels, strict=True)
    shifts = shifts_of(np.concatenate(sides), context=context, replicate=donor)
    sets = {f"s{n}": [[n]] for n in range(n_simulated)}
    return pd.DataFrame(screen_rows(shifts, sets, "donor"))


@pytest.mark.parametrize("donor_sd", [0.2, 0.5])
@pytest.mark.parametrize(("n_donors", "paired"), [(3, False), (6, False), (4, True)])
def test_intervals_of_a_difference_between_contexts_cover_the_truth(donor_sd, n_donors, paired):
    rows = screens(400, n_donors, 50, donor_sd, paired)
    between = rows[rows["versus"] == "B"]
    found = stats.t.sf(between["shift"].abs() / between["error"], between["freedom"]) * 2
    assert between["p_value"].to_numpy() == pytest.approx(found)
    wrong = int((between["p_value"] < 0.05).sum())  # the 95 % interval does not hold 0
    # Welch's t over 3 a side is a little careful: fewer than 5 %, never clearly more.
    assert stats.binomtest(wrong, 400, 0.05, alternative="greater").pvalue > 0.005
    assert wrong > 4
    assert set(between["unit"]) == {"donor"}
    # Cells taken for independent: far more than 5 % are wrong, unless donors are on both sides.
    if donor_sd == 0.5 and not paired:
        rng = np.random.default_rng(0)
        sides = [
            np.repeat(rng.normal(0, donor_sd, (400, n_donors)), 50, axis=1)
            + rng.normal(0, 1, (400, n_donors * 50))
            for _ in "AB"
        ]
        assert (difference_of(*sides).p_values() < 0.05).mean() > 0.4


def test_fewer_than_three_donors_a_side_have_no_interval_and_no_rank():
    table = rank_screen(screens(3, 2, 50, 0.5, paired=False).to_dict("records"))
    between = table[table["versus"].notna()]
    assert between["shift"].notna().all()
    figures = ["ci_low", "ci_high", "p_value", "p_adjusted", "rank", "shrunken_shift"]
    assert between[figures].isna().all(axis=None)
    (line,) = few_units(table)
    assert line.startswith("A against B: 2 and 2 donor; A: 2 donor; B: 2 donor: with fewer than 3")
    # All cells together are of four donors.
    assert table[table["context"].isna()]["ci_low"].notna().all()


def test_contexts_that_share_no_sample_are_compared_by_sample():
    rng = np.random.default_rng(0)
    shifts = shifts_of(rng.normal(size=(80, 5)), context=["A", "B"] * 40, sample=[0, 1] * 40)
    sets = {"s": [[n] for n in range(5)]}
    table = rank_screen(list(screen_rows(shifts, sets)))
    between = table[table["versus"].notna()]
    assert between[["unit", "n_units", "n_versus_units"]].iloc[0].tolist() == ["sample", 1, 1]
    assert between[["ci_low", "p_value", "rank"]].isna().all(axis=None)
    assert table[table["versus"].isna()]["p_value"].notna().all()  # of these cells
    # Cells of both samples in both contexts: cells are compared, as before.
    mixed = shifts_of(rng.normal(size=(80, 5)), context=["A", "B"] * 40, sample=[0] * 40 + [1] * 40)
    assert set(rank_screen(list(screen_rows(mixed, sets)))["unit"]) == {"cells"}


def test_effects_by_gene_over_donors_are_those_of_a_linear_model():
    rng = np.random.default_rng(1)
    n_donors, n_cells, n_genes = 6, 40, 300
    donors = np.repeat([f"d{n}" for n in range(n_donors)], n_cells)
    folds = np.repeat(rng.normal(0, 0.5, (n_donors, n_genes)), n_cells, axis=0)
    folds = folds + rng.normal(0, 1, folds.shape)
    folds[:, :20] += 3
    measured = np.ones((1, n_genes), dtype=bool)
    table = effects_table(shifts_of(folds, replicate=donors), list(range(n_genes)), measured)
    table = table.sort_values("gene")
    pseudobulk = pd.DataFrame(folds.astype(np.float32)).groupby(donors).mean()
    for gene in range(0, n_genes, 37):
        fitted = sm.OLS(pseudobulk[gene].to_numpy(), np.ones(n_donors)).fit()
        row = table.iloc[gene]
        assert row["replicate_p_value"] == pytest.approx(fitted.pvalues[0], rel=1e-3)
        assert row["replicate_log2_fold_change"] == pytest.approx(fitted.params[0], rel=1e-4)
        assert row["n_replicates"] == n_donors
    assert (table["replicate_p_adjusted"].iloc[:20] < 0.05).all()
    still = table.iloc[20:]
    assert 0.02 < (still["replicate_p_value"] < 0.05).mean() < 0.08
    # The test over cells calls most of these genes changed: it is exploratory.
    assert (still["p_value"] < 0.05).mean() > 0.5


def test_donors_that_lack_a_gene_are_none_of_it_and_two_are_too_few():
    folds = np.array([[1.0, 0], [2, 0], [3, 5], [3, 7]])
    shifts = shifts_of(folds, replicate=["a", "a", "b", "c"], sample=[0, 0, 1, 1])
    measured = np.array([[True, False], [True, True]])
    table = effects_table(shifts, ["g", "h"], measured).set_index("gene")
    assert table["n_replicates"].to_dict() == {"g": 3, "h": 2}
    assert table["replicate_log2_fold_change"].to_dict() == {"g": 2.5, "h": 6}
    assert np.isnan(table.loc["h", "replicate_p_value"])
    assert table.loc["g", "replicate_p_value"] == pytest.approx(
        stats.ttest_1samp([1.5, 3, 3], 0).pvalue
    )


def test_means_of_replicates_are_those_of_pandas():
    rng = np.random.default_rng(0)
    labels = pd.Series(rng.choice(["x", "y", "z", None], 50))
    values = rng.normal(size=(50, 4))
    expected = pd.DataFrame(values).groupby(labels).mean()
    for given in (values, sparse.csc_matrix(values)):
        found = replicate_means(given, labels)
        assert found.to_numpy() == pytest.approx(expected.to_numpy())
        assert found.index.tolist() == expected.index.tolist()


@pytest.mark.parametrize("n", [3, 5, 16])
def test_few_units_are_covered(n):
    """A percentile bootstrap covers 72 % at 3 and 83 % at 5 values, t what it promises."""
    values = np.random.default_rng(n).normal(1, 2, (2000, n))
    low, high = mean_of(values).interval(0.95)
    covered = ((low < 1) & (high > 1)).sum()
    assert stats.binomtest(int(covered), 2000, 0.95).pvalue > 0.001
    assert mean_of(values).p_values() == pytest.approx(stats.ttest_1samp(values, 0, axis=1).pvalue)
    other = np.random.default_rng(0).normal(0, 1, (2000, n + 2))
    expected = stats.ttest_ind(values, other, axis=1, equal_var=False).pvalue
    assert difference_of(values, other).p_values() == pytest.approx(expected)


def test_units_without_variance_are_no_certainty():
    found = mean_of(np.array([[0.0] * 4, [2.0] * 4, [1, 2, np.nan, np.nan]]))
    assert found.p_values() == pytest.approx([1, 0.125, np.nan], nan_ok=True)
    assert found.value.tolist() == [0, 2, 1.5]


def test_intervals_that_a_reader_picks_out_cover_the_truth():
    """Of the intervals that exclude 0, at most 5 % miss the truth; without correction far more."""
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(4000) < 0.05, rng.normal(0, 4, 4000), 0)
    found = mean_of(truth[:, None] + rng.normal(0, 1, (4000, 10)))
    p_adjusted = stats.false_discovery_control(found.p_values())
    missed = {}
    for level in (0.95, selected_level(p_adjusted)):
        low, high = found.interval(level)
        picked = (low > 0) | (high < 0)
        missed[level] = ((low > truth) | (high < truth))[picked].mean()
    plain, corrected = missed.values()
    assert plain > 0.3
    assert corrected < 0.08  # of about 150
    assert (picked == (p_adjusted <= 0.05)).all()


def test_the_winner_is_shrunken_to_the_truth():
    """The largest of 40 shifts is too large on average; shrunken it is not."""
    rng = np.random.default_rng(0)
    excess = {"raw": [], "shrunken": []}
    for _ in range(300):
        truth = rng.normal(0, 0.3, 40)
        found = mean_of(truth[:, None] + rng.normal(0, 1, (40, 12)))
        best = np.argmax(np.abs(found.value))
        sign = np.sign(found.value[best])
        excess["raw"].append(sign * (found.value[best] - truth[best]))
        drawn = shrunken(found.value, found.error)[best]
        excess["shrunken"].append(sign * (drawn - truth[best]))
    assert np.mean(excess["raw"]) > 0.25
    assert abs(np.mean(excess["shrunken"])) < 0.05
    none = rng.normal(0, 1, (40, 200))
    found = mean_of(none)
    largest = np.abs(found.value).max()
    assert np.abs(shrunken(found.value, found.error)).max() < largest / 2
