"""Overlap and order of two sentences, against counting by hand."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.sentences.compare import (
    agreement_of_rows,
    chance_overlap,
    gene_overlap,
    mean_order,
    rank_agreement,
    top_genes,
)

SENTENCES = st.lists(st.integers(0, 30), max_size=25, unique=True)


def test_by_hand():
    one, other = list("ABCDE"), list("BAXC")
    assert gene_overlap(one, other, 2) == 1
    assert gene_overlap(one, other, 3) == pytest.approx(2 / 3)
    assert gene_overlap(one, other) == gene_overlap(one, other, 100) == pytest.approx(3 / 4)
    assert rank_agreement(one, other, 2) == -1
    # A, B, C: only A and B are the other way round.
    assert rank_agreement(one, other) == pytest.approx(1 / 3)
    assert np.isnan(gene_overlap(one, []))
    assert np.isnan(rank_agreement(one, ["A"]))


@given(SENTENCES, SENTENCES, st.one_of(st.none(), st.integers(1, 40)))
def test_any_sentences(one, other, k):
    depth = min(len(one), len(other), k or 99)
    heads = set(one[:depth]), set(other[:depth])
    overlap = gene_overlap(one, other, k)
    if depth:
        assert overlap == len([gene for gene in one[:depth] if gene in heads[1]]) / depth
    assert gene_overlap(other, one, k) == pytest.approx(overlap, nan_ok=True)
    shared = sorted(heads[0] & heads[1])
    signs = [
        np.sign(one.index(a) - one.index(b)) * np.sign(other.index(a) - other.index(b))
        for a, b in combinations(shared, 2)
    ]
    expected = np.mean(signs) if signs else np.nan
    assert rank_agreement(one, other, k) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(SENTENCES.filter(lambda genes: len(genes) > 1))
def test_a_sentence_agrees_with_itself_and_not_with_its_reverse(genes):
    assert gene_overlap(genes, genes) == 1
    assert rank_agreement(genes, genes) == pytest.approx(1)
    assert rank_agreement(genes, genes[::-1]) == pytest.approx(-1)


def test_pseudobulk_sentence():
    assert mean_order(np.array([0.0, 2, -1, 5, 2])).tolist() == [3, 1, 4]


@given(st.integers(1, 40), st.integers(0, 10**6))
def test_many_rows_at_once_are_as_each_alone(n, seed):
    rng = np.random.default_rng(seed)
    one, other = (np.argsort(rng.random((6, 40)), axis=1)[:, :n] for _ in range(2))
    depths = rng.integers(0, n + 1, 6)
    overlaps, taus = agreement_of_rows(one, other, depths, 40)
    for row, k in enumerate(depths):
        heads = list(one[row, :k]), list(other[row, :k])
        assert overlaps[row] == pytest.approx(gene_overlap(*heads), nan_ok=True)
        assert taus[row] == pytest.approx(rank_agreement(*heads), nan_ok=True)


def test_top_genes_and_chance():
    levels = np.array([[0.0, 2, -1, 5, 2], [np.nan] * 5])
    genes, n = top_genes(levels, 3)
    assert genes[0].tolist() == mean_order(levels[0]).tolist()
    assert n.tolist() == [3, 0]
    rng = np.random.default_rng(0)
    drawn = [gene_overlap(*(rng.permutation(50)[:20] for _ in range(2))) for _ in range(500)]
    assert chance_overlap(20, 50) == pytest.approx(np.mean(drawn), abs=0.02)
