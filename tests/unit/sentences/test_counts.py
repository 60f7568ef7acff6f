"""Counts of predicted sentences: ranks kept, depth kept, seeded, and about what the fit expects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.sentences.counts import (
    by_rank_values,
    counts_by_rank,
    rows_of_genes,
    sentence_counts,
)
from c2sflow.sentences.rank_fit import expression_from_ranks

FITS = st.tuples(st.floats(-3, -0.01), st.floats(0.01, 4))


@given(
    fit=FITS,
    length=st.integers(0, 300),
    depth=st.integers(0, 20_000),
    seed=st.integers(0, 2**32),
)
def test_ranks_and_depth_are_kept(fit, length, depth, seed):
    slope, intercept = fit
    (counts,) = sentence_counts([length], [depth], slope, intercept, seed)
    assert counts.dtype == np.int64
    assert (np.diff(counts) <= 0).all()
    if length:
        assert counts.sum() == depth
        # The genes that X has are those with counts, as far as there are counts for them.
        values = expression_from_ranks([np.arange(length)], length, slope, intercept)
        assert (counts > 0).sum() == min(depth, values.nnz)


def test_draws_depend_on_the_seed_and_the_cell_s_number_alone():
    lengths, depths, fit = [30, 0, 200, 5], [900, 4, 5000, 77], (-0.6, 2.0)
    whole = sentence_counts(lengths, depths, *fit, seed=3)
    parts = [
        *sentence_counts(lengths[:1], depths[:1], *fit, seed=3),
        *sentence_counts(lengths[1:], depths[1:], *fit, seed=3, first=1),
    ]
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other)
    again = sentence_counts(lengths, depths, *fit, seed=4)
    assert not np.array_equal(whole[2], again[2])


def test_counts_are_about_what_the_fit_expects():
    """Sorting moves counts among neighbours: only the last genes of a sentence lose by it."""
    values = by_rank_values(200, -0.67, 2.12)
    rng = np.random.default_rng(0)
    mean = np.mean([counts_by_rank(values, 20_000, rng) for _ in range(200)], axis=0)
    expected = 20_000 * values / values.sum()
    np.testing.assert_allclose(mean[:150], expected[:150], rtol=0.05)
    np.testing.assert_allclose(mean, expected, rtol=0.35)
    # Log-normalised, they are X but for the share of the genes that the sentence leaves out.
    logged = np.log10(1 + 1e4 * mean / 20_000)
    assert np.corrcoef(logged, np.log10(1 + values))[0, 1] == pytest.approx(1, abs=0.01)


def test_rows_have_the_counts_at_their_genes():
    counts = [np.array([5, 2, 0]), np.empty(0, dtype=np.int64)]
    matrix = rows_of_genes([[4, 1, 0, 3], []], counts, 6)
    assert matrix.toarray().tolist() == [[0, 2, 0, 0, 5, 0], [0] * 6]
    assert matrix.nnz == 2
