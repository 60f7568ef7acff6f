"""The figures of each cell's values, computed at once, are those of a loop over the cells."""

from dataclasses import fields

import numpy as np
import pytest
from scipy import sparse

from c2sflow.data.state.evidence import FEW_COUNTS, Evidence, cell_evidence


def matrix(seed, n_kinds=5):
    """Cells of counts, of rounded and other fractions, of large numbers, and one without values."""
    random = np.random.default_rng(seed)
    counts = random.poisson(random.gamma(0.5, 4, (1, 300)), (40, 300)).astype(float)
    kinds = (
        counts, counts * 7, np.log1p(counts), counts * 0.5, np.where(counts > 0, counts + 600, 0),
    )  # fmt: skip
    values = np.choose(random.integers(0, n_kinds, (40, 1)), kinds)
    values[5] = 0
    return values


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_kinds", [2, 5], ids=["whole numbers", "all"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_figures_are_those_of_a_loop(seed, dtype, n_kinds):
    values = matrix(seed, n_kinds).astype(dtype)
    found = cell_evidence(sparse.csr_matrix(values))
    for cell, row in enumerate(values):
        own = row[row > 0]
        if not own.size:
            assert found.n_values[cell] == found.total[cell] == found.ones[cell] == 0
            continue
        whole = own == np.rint(own)
        assert found.n_values[cell] == own.size
        assert found.smallest[cell] == own.min()
        assert found.largest[cell] == own.max()
        assert found.whole[cell] == whole.mean()
        assert found.n_above[cell] == (own >= 2).sum()
        assert found.whole_above[cell] == whole[own >= 2].sum() / max(1, (own >= 2).sum())
        assert found.ones[cell] == (own == 1).sum()
        assert found.lows[cell] == (own == own.min()).sum()
        assert found.total[cell] == pytest.approx(own.sum(dtype=float))
        if whole.all():
            assert found.divisor[cell] == np.gcd.reduce(own.astype(int))
            frequent = [(own == n).sum() for n in range(FEW_COUNTS + 1)]
            gaps = [
                n
                for n in range(2, FEW_COUNTS)
                if not frequent[n] and min(frequent[n - 1], frequent[n + 1]) >= 30
            ]
            assert found.gaps[cell] == bool(gaps)


@pytest.mark.parametrize("step", [0.37, 3.3, 211.7])
def test_a_cell_shows_the_same_beside_any_others(step):
    """Only cells whose values may be multiples are compared with a step."""
    random = np.random.default_rng(0)
    counts = 1 + random.poisson(3, (3, 200)).astype(float)
    alone = sparse.csr_matrix(np.rint(counts[:1] * step * 10) if step > 1 else counts[:1] * step)
    beside = sparse.vstack([sparse.csr_matrix(counts[1:]), alone], "csr")
    one, other = cell_evidence(alone), cell_evidence(beside).take(np.array([2]))
    for name in ("stepped", "steps", "step_errors", "fits", "coarse", "half_step", "sum_errors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_sharp_cell_shows_the_same_beside_rounded_ones():
    """What rounding changes in a sum is of the cell's own rounding."""
    random = np.random.default_rng(0)
    counts = random.poisson(3, (3, 200)).astype(float)
    logs = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    logs[1:] = np.round(logs[1:], 2)
    one, all_of_them = (cell_evidence(sparse.csr_matrix(own)) for own in (logs[:1], logs))
    other = all_of_them.take(np.array([0]))
    for field in fields(Evidence):  # (the last bit of exp depends on a value's place)
        found = getattr(other, field.name)
        np.testing.assert_allclose(getattr(one, field.name), found, rtol=1e-12, err_msg=field.name)
    assert (all_of_them.sum_errors[1:, 1] > 10 * other.sum_errors[:, 1]).all()  # base e


def test_evidence_put_by_blocks_is_theirs_together():
    values = sparse.csr_matrix(matrix(0))
    parts = [cell_evidence(values[start : start + 7]) for start in range(0, values.shape[0], 7)]
    found = Evidence.of_none(values.shape[0])
    for number, part in enumerate(parts):
        found.put(7 * number, part)
    for field in fields(Evidence):
        together = getattr(Evidence.concat(parts), field.name)
        np.testing.assert_array_equal(getattr(found, field.name), together)
