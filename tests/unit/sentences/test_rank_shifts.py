"""Shifts of ranks between two sentences of different lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.sentences.compare import compared_ranks, fold_changes
from c2sflow.sentences.rank_fit import expression_from_ranks

FIT = {"slope": -0.6, "intercept": 1.5}
SENTENCES = st.permutations(range(30)).flatmap(
    lambda genes: st.integers(0, 30).map(lambda n: np.array(genes[:n], dtype=np.int64))
)


def test_the_longer_sentence_is_cut():
    genes, predicted, control = compared_ranks(np.array([7, 3]), np.array([3, 9, 7, 8]))
    assert genes.tolist() == [3, 7, 9]
    assert predicted.tolist() == [2, 1, 3]
    assert control.tolist() == [1, 3, 2]


@given(one=SENTENCES, other=SENTENCES)
def test_shifts_add_up_to_zero_and_turn_with_the_sides(one, other):
    genes, predicted, control = compared_ranks(one, other)
    depth = min(one.size, other.size)
    assert set(genes) == set(one[:depth]) | set(other[:depth])
    for gene, rank, there in zip(genes, predicted, control, strict=True):
        for sentence, found in ((one, rank), (other, there)):
            place = sentence[:depth].tolist()
            assert found == (place.index(gene) + 1 if gene in place else depth + 1)
    assert predicted.sum() == control.sum()
    _, back_control, back_predicted = compared_ranks(other, one)
    assert (back_predicted == predicted).all()
    assert (back_control == control).all()


@given(sentence=SENTENCES)
def test_a_sentence_that_is_its_control_shifts_nothing(sentence):
    _, predicted, control = compared_ranks(sentence[:10], sentence)
    assert (predicted == control).all()


def test_fold_change_is_that_of_the_reconstructed_cells():
    """Of genes in both sentences, at the depth of both, c2s_perturbed.h5ad's X says the same."""
    rng = np.random.default_rng(0)
    one, other = rng.permutation(500), rng.permutation(500)
    _, predicted, control = compared_ranks(one, other)
    x = expression_from_ranks([one, other], 500, **FIT).toarray().astype(float)
    found = fold_changes(predicted, control, FIT)
    np.testing.assert_allclose(found, np.log2(10 ** x[0] / 10 ** x[1]), atol=1e-5)
    assert (x == 0).any()  # the fit's floor is met


def test_rising_is_above_zero():
    assert fold_changes(np.array([1]), np.array([11]), FIT)[0] == pytest.approx(0.6 * np.log2(11))
