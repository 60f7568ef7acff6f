"""Calibration: near its null for calibrated probabilities, far above for sure ones, and mended."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from c2sflow.evaluation.calibration import (
    Judged,
    _risks,
    bins_of,
    calibration_curves,
    calibration_error,
    calibration_figures,
    curves_table,
    debiased_square,
    fit_isotonic,
    fit_temperature,
    held_out_isotonic,
)

N, K = 2000, 6
SEEDS = range(30)


def drawn(seed, n=N, sharpness=1.0):
    """Truth by its probabilities, and scores that are `sharpness` times as sure."""
    rng = np.random.default_rng(seed)
    scores = log_softmax(rng.normal(0, 1.5, (n, K)), axis=1)
    truth = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return Judged(log_softmax(sharpness * scores, axis=1), truth)


def figures(judged, seed):
    return {figure.metric: figure for figure in calibration_figures(judged, seed)}


def test_calibrated_probabilities_meet_their_null():
    """The error is what its null gives: within its 95 % range in about 95 of 100 data sets."""
    made = [figures(drawn(seed), seed) for seed in SEEDS]
    inside = [one["ece"].null_low <= one["ece"].value <= one["ece"].null_high for one in made]
    assert np.mean(inside) >= 0.85  # 26 of 30: less is rarer than 1 in 100 at 95 %
    assert np.mean([one["ece"].value for one in made]) < 0.03
    ratio = np.mean([one["ece"].value / one["ece"].null for one in made])
    assert ratio == pytest.approx(1, abs=0.1)
    assert np.mean([one["temperature"].value for one in made]) == pytest.approx(1, abs=0.03)
    # A temperature that is not needed does no harm.
    assert np.mean([one["ece_tempered"].value for one in made]) < 0.03


@pytest.mark.parametrize(("sharpness", "above"), [(3.0, 0.2), (0.4, 0.1)])
def test_probabilities_that_are_too_sure_are_seen_and_mended(sharpness, above):
    made = [figures(drawn(seed, sharpness=sharpness), seed) for seed in range(10)]
    for one in made:
        assert one["ece"].value > max(above, 3 * one["ece"].null_high)
        assert one["ece"].ci_low > one["ece"].null_high
        assert one["temperature"].value == pytest.approx(sharpness, rel=0.12)
        assert one["ece_tempered"].value < 0.05
        assert one["log_loss_tempered"].value < one["log_loss"].value
    inside = [f["ece_tempered"].value <= f["ece_tempered"].null_high for f in made]
    assert np.mean(inside) >= 0.7


def of_two_kinds(seed, n=N):
    """Half of the cells three times as sure as they may be, the others by half too unsure."""
    judged = drawn(seed, n)
    sharpness = np.where(np.arange(n) % 2, 3.0, 0.5)
    return Judged(log_softmax(sharpness[:, None] * judged.scores, axis=1), judged.truth)


def test_where_a_temperature_does_not_help_isotonic_regression_does():
    made = [figures(of_two_kinds(seed), seed) for seed in range(10)]
    for one in made:
        assert one["ece"].value > 0.1
        assert one["ece_tempered"].value > 1.5 * one["ece_tempered"].null_high
        assert one["ece_isotonic"].value < 0.05
        assert one["rms_error_isotonic"].value < 0.05
    inside = [one["ece_isotonic"].value <= one["ece_isotonic"].null_high for one in made]
    assert np.mean(inside) >= 0.7


def test_isotonic_regression_of_calibrated_probabilities_does_little_harm():
    """And no label tunes its own probability: where chance makes labels right, none is likelier."""
    made = [figures(drawn(seed), seed)["ece_isotonic"] for seed in range(1000, 1010)]
    assert np.mean([one.value for one in made]) < 0.045
    rng = np.random.default_rng(0)
    chance = Judged(drawn(0).scores, rng.integers(0, K, N))
    own = held_out_isotonic(chance, 0)
    assert own.mean() == pytest.approx(1 / K, abs=0.02)
    assert np.std(own) < 0.05
    assert np.corrcoef(own, chance.right)[0, 1] < 0.05


def test_steps_say_how_often_labels_are_right():
    judged = of_two_kinds(1)
    table = curves_table(calibration_curves(judged, 0)).query("curve == 'isotonic'")
    assert (table["y"].diff().dropna() > 0).all()
    assert (table["min_probability"].diff().dropna() > 0).all()
    assert table["n"].sum() == N
    confidence, last = judged.confidence(), table.iloc[-1]
    above = confidence >= last["min_probability"]
    assert above.sum() == last["n"]
    assert judged.right[above].mean() == pytest.approx(last["y"])
    fitted = fit_isotonic(confidence, judged.right).predict(confidence)
    steps = np.searchsorted(table["min_probability"], confidence, side="right") - 1
    np.testing.assert_allclose(table["y"].to_numpy()[steps], fitted, atol=1e-9)


def test_the_interval_covers_the_error():
    """Of a large sample's error, nearly the true one; the bias of few cells is small beside it."""
    true = figures(drawn(1000, n=200_000, sharpness=3.0), 0)["ece"].value
    made = [figures(drawn(seed, sharpness=3.0), seed)["ece"] for seed in SEEDS]
    assert np.mean([one.ci_low <= true <= one.ci_high for one in made]) >= 0.85


def test_few_cells_add_nothing_to_the_debiased_square():
    """Of 140 cells its mean is that of a large sample; the plain error's is far above."""
    for sharpness in (1.0, 2.0):
        large = drawn(1000, n=200_000, sharpness=sharpness)
        true = debiased_square(large.confidence(), large.right[None])[0]
        small = [drawn(seed, n=140, sharpness=sharpness) for seed in range(1000, 1300)]
        pairs = [(one.confidence(), one.right) for one in small]
        found = np.array([debiased_square(sure, right[None])[0] for sure, right in pairs])
        error = found.std(ddof=1) / np.sqrt(found.size)
        assert abs(found.mean() - true) < 3 * error + 0.001
        assert error < 0.002
        if sharpness == 1:
            assert np.mean([calibration_error(*pair) ** 2 for pair in pairs]) > true + 5 * error
        assert true >= calibration_error(large.confidence(), large.right) ** 2 - 1e-4


def test_the_root_mean_square_meets_its_null():
    made = [figures(drawn(seed), seed)["rms_error"] for seed in range(1000, 1030)]
    assert np.mean([one.value <= one.null_high for one in made]) >= 0.85
    assert np.mean([one.value for one in made]) == pytest.approx(
        np.mean([one.null for one in made]), abs=0.005
    )
    too_sure = figures(drawn(0, sharpness=3.0), 0)
    assert too_sure["rms_error"].value > max(0.2, 5 * too_sure["rms_error"].null_high)
    assert too_sure["rms_error_tempered"].value < 0.05


def test_the_temperature_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(600, 4))
    truth = (2 * vectors[:, :3] + rng.gumbel(size=(600, 3))).argmax(axis=1)
    model = LogisticRegression(C=1000).fit(vectors[:30], truth[:30])  # of few cells: too sure
    reference = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
    reference.fit(vectors[30:], truth[30:])
    expected = reference.predict_proba(vectors)
    scores = log_softmax(model.decision_function(vectors), axis=1)
    temperature = fit_temperature(Judged(scores[30:], truth[30:]))
    assert temperature > 1.2
    found = np.exp(Judged(scores, truth).at(temperature))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_reliability_curve_is_that_of_scikit_learn():
    judged = drawn(3)
    confidence, right = judged.confidence(), judged.right
    shares, means = calibration_curve(right, confidence, n_bins=15, strategy="quantile")
    table = curves_table(calibration_curves(judged, 0)).query("curve == 'reliability'")
    np.testing.assert_allclose(table["y"], shares, atol=0.01)
    np.testing.assert_allclose(table["x"], means, atol=0.002)
    assert table["n"].sum() == N
    assert table["n"].max() - table["n"].min() <= 1
    weighed = (table["n"] * (table["x"] - table["y"]).abs()).sum() / N
    assert calibration_error(confidence, right) == pytest.approx(weighed, abs=1e-12)


def test_risk_falls_with_coverage_and_by_chance_does_not():
    judged = drawn(5)
    table = curves_table(calibration_curves(judged, 0)).query("curve == 'risk_coverage'")
    whole = table[table["x"] == 1].iloc[0]
    assert whole["y"] == pytest.approx(1 - judged.right.mean())
    tenth = table.iloc[(table["x"] - 0.1).abs().argmin()]
    assert tenth["y"] < 0.5 * whole["y"]
    kept = judged.confidence() >= tenth["min_probability"]
    assert tenth["n"] == kept.sum()
    assert tenth["y"] == pytest.approx((~judged.right[kept]).mean())
    found = figures(judged, 0)["aurc"]
    assert found.value < found.null == pytest.approx(whole["y"])
    # Equal confidences tell nothing: whoever is left out, the risk is the same.
    np.testing.assert_allclose(_risks(np.full(N, 0.5), judged.right), whole["y"])


def test_labels_that_are_no_candidate_are_wrong_and_not_fitted_to():
    scores = log_softmax(np.random.default_rng(0).normal(size=(60, 2)), axis=1)
    judged = Judged.of(["a", "b"], scores, ["c"] * 60)
    assert not judged.right.any()
    assert fit_temperature(judged) == 1
    assert np.isnan(figures(judged, 0)["log_loss"].value)
    missing = np.where(np.arange(60)[:, None] < 20, np.nan, scores)
    assert len(Judged.of(["a", "b"], missing, ["a"] * 60).truth) == 40
    assert not figures(Judged.of(["a", "b"], missing, ["a"] * 60), 0)
    sure = np.array([[0.0, -np.inf]] * 60)
    assert np.isfinite(figures(Judged.of(["a", "b"], sure, ["b"] * 60), 0)["log_loss"].value)
    assert set(bins_of(np.full(60, 0.5))) == {0}
