"""scFID and energy distance against their textbook formulas, and on few cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import energy_distance

from c2sflow.distances import energy_replicates, scfid, scfid_replicates
from c2sflow.resampling import bootstrap_interval


def cells(n, d=6, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, (n, d)) @ np.random.default_rng(9).normal(size=(d, d))


def plain_scfid(one, other):
    """By matrix square root, as FID is usually written."""
    root = sqrtm(np.cov(one.T) @ np.cov(other.T)).real
    shift = one.mean(axis=0) - other.mean(axis=0)
    return shift @ shift + np.trace(np.cov(one.T) + np.cov(other.T) - 2 * root)


def test_scfid_is_the_formula():
    one, other = cells(80), cells(50, shift=0.5, seed=1) * 1.5
    assert scfid(one, other) == pytest.approx(plain_scfid(one, other), rel=1e-9)
    assert scfid(other, one) == pytest.approx(scfid(one, other))


def test_scfid_of_one_dimension():
    one, other = cells(30, 1), 3 + 2 * cells(20, 1, seed=1)
    means, deviations = zip(*((x.mean(), x.std(ddof=1)) for x in (one, other)), strict=True)
    expected = (means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2
    assert scfid(one, other) == pytest.approx(expected)


@given(st.integers(2, 7), st.integers(2, 7), st.integers(0, 1000))
def test_scfid_of_fewer_cells_than_dimensions(n, m, seed):
    rng = np.random.default_rng(seed)
    one, other = (rng.normal(size=(k, 20)).astype(np.float32) for k in (n, m))
    found = scfid(one, other)
    assert np.isfinite(found)
    assert found >= np.square(one.mean(axis=0) - other.mean(axis=0)).sum() * (1 - 1e-5)
    assert scfid(one, one) == pytest.approx(0, abs=1e-6)
    # Moving and turning all cells together changes nothing.
    turn, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    assert scfid((one + 3) @ turn, (other + 3) @ turn) == pytest.approx(found, rel=1e-5)


def test_one_cell_has_no_scfid():
    assert np.isnan(scfid(cells(1), cells(5)))
    assert np.isnan(scfid_replicates(cells(1), cells(5), 0)).all()


def test_energy_distance_is_scipys_in_one_dimension():
    one, other = cells(40, 1), cells(30, 1, shift=1, seed=1)
    expected = energy_distance(one.ravel(), other.ravel()) ** 2
    assert energy_replicates(one, other, 0)[0] == pytest.approx(expected)


def test_energy_distance_is_the_sum_over_pairs():
    one, other = cells(12), cells(9, shift=1, seed=1)

    def mean(a, b):
        return np.mean([np.sqrt(((x - y) ** 2).sum()) for x in a for y in b])

    expected = 2 * mean(one, other) - mean(one, one) - mean(other, other)
    assert energy_replicates(one, other, 0)[0] == pytest.approx(expected)
    assert energy_replicates(one, one[::-1], 0)[0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("replicates", [scfid_replicates, energy_replicates])
def test_intervals_hold_the_value_and_tell_groups_apart(replicates):
    near = replicates(cells(60), cells(60, seed=1), 0)
    far = replicates(cells(60), cells(60, shift=2, seed=1), 0)
    for values in (near, far):
        low, high = bootstrap_interval(values, (0, np.inf))
        assert 0 <= low < values[0] < high
    assert bootstrap_interval(far, (0, np.inf))[0] > bootstrap_interval(near)[1]
    assert np.array_equal(near, replicates(cells(60), cells(60, seed=1), 0))


def test_interval_of_the_energy_distance_covers_a_larger_samples_value():
    """The value of 1,500 cells lies in about 95 % of the intervals of 80 cells."""
    truth = energy_replicates(cells(1500, 2), cells(1500, 2, shift=1, seed=1), 0)[0]
    inside = 0
    for seed in range(40):
        one, other = cells(80, 2, seed=2 * seed + 10), cells(80, 2, shift=1, seed=2 * seed + 11)
        low, high = bootstrap_interval(energy_replicates(one, other, seed), (0, np.inf))
        inside += low < truth < high
    assert inside >= 33
