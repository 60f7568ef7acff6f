"""Rank fit against scipy; expression from ranks and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from c2sflow.sentences.rank_fit import RankFit, expression_from_ranks
from c2sflow.sentences.ranking import cell_sentences, gene_words


@pytest.fixture(scope="module")
def ranked(pbmc):
    made = cell_sentences(pbmc.X[:60], pbmc.obs_names[:60], gene_words(pbmc.var_names))
    return [values for _, values in made]


def test_fit_equals_scipy(ranked):
    fit = RankFit()
    fit.add_cells(np.concatenate(ranked), [values.size for values in ranked])
    x = np.concatenate([np.log10(np.arange(1, v.size + 1)) for v in ranked])
    expected = linregress(x, np.concatenate(ranked))
    solved = fit.solve()
    assert solved["slope"] == pytest.approx(expected.slope)
    assert solved["intercept"] == pytest.approx(expected.intercept)
    assert solved["r_squared"] == pytest.approx(expected.rvalue**2)
    assert solved["n"] == x.size


@given(cut=st.integers(0, 60))
def test_shards_add_up(ranked, cut):
    whole, first, second = RankFit(), RankFit(), RankFit()
    for n, values in enumerate(ranked):
        whole.add_cells(values, [values.size])
        (first if n < cut else second).add_cells(values, [values.size])
    assert (first + second).solve() == pytest.approx(whole.solve())


def test_fit_of_nothing_is_nan():
    assert np.isnan(RankFit().solve()["slope"])
    fit = RankFit()
    fit.add_cells(np.empty(0), [])
    fit.add_cells(np.array([1.0]), [1, 0])  # one rank does not make a line
    assert np.isnan(fit.solve()["slope"])


def test_expression_falls_with_rank_and_is_never_negative():
    matrix = expression_from_ranks([[3, 0], [], [2, 1, 0, 3]], 4, slope=-2.0, intercept=1.0)
    dense = matrix.toarray()
    assert dense[0] == pytest.approx([1 - 2 * np.log10(2), 0, 0, 1.0])
    assert not dense[1].any()
    assert dense[2] == pytest.approx([1 - 2 * np.log10(3), 1 - 2 * np.log10(2), 1.0, 0])
    assert matrix.dtype == np.float32
    assert matrix.has_sorted_indices
    assert (matrix.data > 0).all()  # the fourth gene's value would be below 0


def test_reconstruction_correlates_with_the_cells(pbmc, ranked):
    fit = RankFit()
    fit.add_cells(np.concatenate(ranked), [values.size for values in ranked])
    solved = fit.solve()
    words = gene_words(pbmc.var_names)
    column = {word: n for n, word in enumerate(words)}
    texts = [t for t, _ in cell_sentences(pbmc.X[:60], pbmc.obs_names[:60], words)]
    made = expression_from_ranks(
        [[column[w] for w in text.split()] for text in texts],
        pbmc.n_vars, solved["slope"], solved["intercept"],
    ).toarray()  # fmt: skip
    assert np.corrcoef(made.ravel(), pbmc.X[:60].toarray().ravel())[0, 1] > 0.95
