"""What answers hold: shares of words and answers, and novelty against the control cell."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t

from c2sflow.evaluation.figures import bootstrap_interval, figures_table, share_interval, weights
from c2sflow.evaluation.sentences import answer_figures, novelty_figures


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "c2s_n_predicted_genes": rng.integers(20, 90, 60),
            "c2s_invalid_genes": rng.poisson(4, 60),
            "c2s_duplicate_genes": 0,
            "c2s_finish_reason": ["eos", "length", "eos"] * 20,
        }
    )


def test_shares_of_words_and_answers(answers):
    table = figures_table(answer_figures(answers, "drug", 0)).set_index("metric")
    words = answers.iloc[:, :3].to_numpy().sum()
    invalid = table.loc["invalid_fraction"]
    assert invalid["value"] == pytest.approx(answers["c2s_invalid_genes"].sum() / words)
    assert invalid["ci_low"] < invalid["value"] < invalid["ci_high"]
    repeated = table.loc["repeated_fraction", ["value", "ci_low", "ci_high"]].astype(float)
    assert repeated.tolist() == pytest.approx([0, 0, 0.0602], abs=1e-4)  # Wilson's, of 60 answers
    assert table.loc["cut_fraction", "value"] == pytest.approx(1 / 3)
    assert (table["n"] == 60).all()
    # The ratio's deviation by the delta method.
    said = answers.iloc[:, :3].sum(axis=1)
    residual = answers["c2s_invalid_genes"] - invalid["value"] * said
    deviation = residual.std() / said.mean() / np.sqrt(60)
    assert (invalid["ci_high"] - invalid["ci_low"]) / 2 == pytest.approx(1.96 * deviation, rel=0.25)


def test_novelty_by_hand():
    controls = [list("ABCDEF"), list("CDEFGH")]
    answers = [list("ABX"), list("CDEF")]
    table = figures_table(novelty_figures(answers, controls, [4, 9], "drug", 0))
    table = table.set_index("predictor")
    assert table.loc["model", "value"] == pytest.approx((1 / 3 + 0) / 2)
    # As long as the answers: CDE against ABC, ABCD against CDEF.
    assert table.loc["another_control", "value"] == pytest.approx((2 / 3 + 2 / 4) / 2)
    assert (table["depth"] == 3.5).all()
    copies = figures_table(novelty_figures([list("AB")], controls[:1], [0], "drug", 0))
    assert copies["value"].tolist() == [0]  # of one cell there is no other
    twice = novelty_figures([list("AB")] * 2, controls[:1] * 2, [0, 0], "drug", 0)
    assert [figure.predictor for figure in twice] == ["model"]
    assert not novelty_figures([[]], [list("AB")], [0], "drug", 0)


def test_weights_are_shares_and_start_with_the_cells_as_they_are():
    found = weights(7, 3, 1, n_resamples=50)
    assert found.shape == (51, 7)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found[0] == 1 / 7).all()
    assert np.array_equal(found, weights(7, 3, 1, n_resamples=50))
    assert not np.array_equal(found, weights(7, 3, 2, n_resamples=50))


def test_interval_is_moved_to_the_value_widened_and_bounded():
    values = np.array([0.5, *np.linspace(1, 2, 101)])
    wider = np.sqrt(10 / 9) * t.ppf(0.975, 9) / norm.ppf(0.975)
    ends = 0.5 - 0.475 * wider, 0.5 + 0.475 * wider
    assert bootstrap_interval(values, 10) == pytest.approx(ends)
    assert bootstrap_interval(values, 10, (0.2, 0.8)) == (0.2, 0.8)
    # All replicates but one are the value, which that one draws out of them.
    drawn_out = bootstrap_interval(np.r_[1.0, np.ones(200), 0.5], 10)
    assert drawn_out[0] <= 1 <= drawn_out[1]
    assert np.isnan(bootstrap_interval(np.array([1.0]), 10)).all()
    assert np.isnan(bootstrap_interval(np.arange(9.0), n=5)).all()
    # What no resample leaves has none: [0, 0] would be certainty.
    assert np.isnan(bootstrap_interval(np.full(9, 0.5), 10, (0, 1))).all()
    assert np.isnan(bootstrap_interval(np.zeros(9), 10, (0, 1))).all()
    assert np.isnan(bootstrap_interval(weights(20, 0) @ np.ones(20), 20, (0, 1))).all()
    assert np.isnan(bootstrap_interval(np.array([np.nan, 1, 2]), 10)).all()
    assert np.isnan(share_interval(0, 0)).all()


def test_intervals_of_a_mean_cover_it():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(100):
        low, high = bootstrap_interval(weights(40, seed) @ rng.exponential(1, 40), 40)
        inside += low < 1 < high
    assert inside >= 86
