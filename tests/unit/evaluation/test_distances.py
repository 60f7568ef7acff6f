"""scFID and energy distance against their textbook formulas, and on few cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import energy_distance

from c2sflow.evaluation.distances import EnergyDistance, scfid, scfid_of_rows


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


def test_one_cell_has_no_distance():
    assert np.isnan(scfid(cells(1), cells(5)))
    assert np.isnan(energy(cells(1), cells(5)))


def energy(one, other, origins=None):
    ones = [np.ones((1, len(group)), dtype=int) for group in (one, other)]
    return EnergyDistance(one, other, origins).rows(*ones)[0]


def test_energy_distance_is_scipys_without_the_pairs_of_a_cell_with_itself():
    one, other = cells(40, 1), cells(30, 1, shift=1, seed=1)
    biased = energy_distance(one.ravel(), other.ravel()) ** 2
    within = [np.abs(group - group.T).mean() for group in (one, other)]
    expected = biased + sum(
        w - w * len(g) / (len(g) - 1) for w, g in zip(within, (one, other), strict=True)
    )
    assert energy(one, other) == pytest.approx(expected)


def test_energy_distance_is_the_sum_over_pairs():
    one, other = cells(12), cells(9, shift=1, seed=1)

    def mean(a, b):
        pairs = [np.sqrt(((x - y) ** 2).sum()) for x in a for y in b if x is not y]
        return np.mean(pairs)

    a, b = list(one), list(other)
    assert energy(one, other) == pytest.approx(2 * mean(a, b) - mean(a, a) - mean(b, b))


def test_cells_count_as_often_as_they_are_drawn():
    """As among copies of the cells, but that a cell and its copy are no pair."""
    one, other = cells(6), cells(5, shift=1, seed=1)
    times = np.array([[2, 0, 1, 1, 3, 1]]), np.array([[1, 1, 0, 2, 1]])
    found = EnergyDistance(one, other).rows(*times)[0]
    copies = [np.repeat(np.arange(len(t[0])), t[0]) for t in times]

    def mean(a, b, i, j, same):
        pairs = [np.linalg.norm(a[x] - b[y]) for x in i for y in j if not (same and x == y)]
        return np.mean(pairs)

    expected = 2 * mean(one, other, *copies, False)
    expected -= mean(one, one, copies[0], copies[0], True) + mean(
        other, other, copies[1], copies[1], True
    )
    assert found == pytest.approx(expected)


def test_scfid_of_rows_is_of_the_cells_that_count():
    one, other = cells(20, shift=2), cells(9, seed=1)
    times = np.zeros((2, 20), dtype=int)
    times[0, 3:12] = 1
    found, size = scfid_of_rows({"x": (one, times)}, other, np.ones((2, 9), dtype=int), 0)
    assert found["x"][0] == pytest.approx(scfid(one[3:12], other))
    assert np.isnan(found["x"][1])
    assert size == 9
