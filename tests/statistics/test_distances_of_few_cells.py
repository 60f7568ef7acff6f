"""Distances of groups of any size: no bias in the energy distance, equal numbers for scFID."""

import numpy as np
import pytest

from c2sflow.evaluation.distances import EnergyDistance, scfid, scfid_bias, scfid_of_rows


def drawn(rng, n):
    return rng.normal(size=(n, 10)) * np.linspace(1, 3, 10)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 60), (60, 60)])
def test_energy_distance_of_one_distribution_is_zero_on_average(n, m):
    """The V-statistic's mean is about E|X - X'| (1/n + 1/m): 3.6, 1.6 and 0.2 here."""
    rng = np.random.default_rng(0)
    found = [
        EnergyDistance(drawn(rng, n), drawn(rng, m)).rows(
            np.ones((1, n), dtype=int), np.ones((1, m), dtype=int)
        )[0]
        for _ in range(300)
    ]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(300)


def test_several_answers_to_one_cell_are_no_more_cells():
    """Answers said thrice are as far as those said once, not nearer to each other."""
    rng = np.random.default_rng(1)
    answers, real = drawn(rng, 12), drawn(rng, 30) + 1
    ones = np.ones((1, 30), dtype=int)
    once = EnergyDistance(answers, real).rows(np.ones((1, 12), dtype=int), ones)
    thrice = np.repeat(answers, 3, axis=0)
    origins = np.repeat(np.arange(12), 3)
    found = EnergyDistance(thrice, real, origins).rows(np.ones((1, 36), dtype=int), ones)
    np.testing.assert_allclose(found, once)


def test_scfid_is_of_equal_numbers():
    """Groups of 8, 40 and 200 cells of one distribution are equally far from it."""
    rng = np.random.default_rng(2)
    found = {8: [], 40: [], 200: []}
    for seed in range(40):
        groups = {str(n): (drawn(rng, n), np.ones((1, n), dtype=int)) for n in found}
        values, size = scfid_of_rows(groups, drawn(rng, 200), np.ones((1, 200), dtype=int), seed)
        assert size == 8
        for n, own in found.items():
            own.append(values[str(n)][0])
    means = [np.mean(own) for own in found.values()]
    error = np.std(found[8]) / np.sqrt(40)
    assert max(means) - min(means) < 5 * error
    # Of all cells each, few would look much worse.
    assert scfid(drawn(rng, 8), drawn(rng, 200)) > 3 * scfid(drawn(rng, 200), drawn(rng, 200))


def test_bias_of_scfid_is_that_of_two_groups_of_one_distribution():
    rng = np.random.default_rng(3)
    cells = drawn(rng, 160)
    splits = np.array([rng.permutation(160) < 80 for _ in range(20)])
    found = scfid_bias(cells, splits, 0)
    assert list(found) == [8, 16, 32, 64]
    for size, value in found.items():
        expected = np.mean([scfid(drawn(rng, size), drawn(rng, size)) for _ in range(100)])
        assert value == pytest.approx(expected, rel=0.25)
