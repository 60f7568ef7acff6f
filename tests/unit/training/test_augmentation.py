"""Noise on sentences: another draw of molecules, and nothing that the cells did not have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson, spearmanr

from c2sflow.training.examples import LOST, MIXED, SHORTEST, cut_short, resampled

GENES = [f"G{number}" for number in range(200)]
WORDS = st.lists(st.sampled_from(GENES), min_size=1, unique=True)


@given(WORDS, st.none() | WORDS, st.floats(0.05, 1), st.integers(0, 2**32))
def test_a_sentence_stays_one_of_its_genes(genes, other, strength, seed):
    def made():
        return resampled(genes, strength, np.random.default_rng(seed), other)

    sentence = made()
    assert sentence == made()
    assert 1 <= len(sentence) <= len(genes)
    assert len(set(sentence)) == len(sentence)
    assert set(sentence) <= {*genes, *(other or [])}


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_genes_are_lost_as_often_as_molecules_say(strength):
    """Of a gene that stands for n / rank molecules, none is drawn by Poisson's law."""
    rng = np.random.default_rng(1)
    runs = [set(resampled(GENES, strength, rng)) for _ in range(3000)]
    found = np.array([np.mean([gene in run for run in runs]) for gene in GENES])
    expected = len(GENES) / np.arange(1, len(GENES) + 1) / strength**2
    wanted = (1 - poisson.pmf(0, expected)) * (1 - LOST * strength / 2)
    np.testing.assert_allclose(found, wanted, atol=0.04)


def test_first_genes_keep_their_places_and_last_ones_do_not():
    rng = np.random.default_rng(2)
    places = {gene: [] for gene in GENES}
    for _ in range(500):
        for place, gene in enumerate(resampled(GENES, 1.0, rng)):
            places[gene].append(place)
    means = np.array([np.mean(place) for place in places.values()])
    spread = np.array([np.std(place) for place in places.values()])
    assert spearmanr(means, np.arange(200)).statistic > 0.98
    assert (spread[:5] < 1.5).all()
    assert (spread[100:] > 20).all()


def test_weak_noise_is_little():
    sentence = resampled(GENES, 0.01, np.random.default_rng(3))
    assert len(sentence) > 195
    assert spearmanr([GENES.index(gene) for gene in sentence], range(len(sentence)))[0] > 0.999


def test_another_cell_is_mixed_in_and_never_more_than_half():
    """Disjoint cells: the foreign genes of a sentence say how much of it is foreign."""
    rng, other = np.random.default_rng(4), [f"H{number}" for number in range(200)]
    runs = [resampled(GENES, 1.0, rng, other) for _ in range(400)]
    foreign = np.array([np.mean([gene[0] == "H" for gene in run]) for run in runs])
    assert np.mean(foreign > 0) == pytest.approx(MIXED, abs=0.08)
    assert foreign.max() < 0.6
    assert np.mean([run[0] == "G0" for run in runs]) > 0.8  # the first of both cells come first


def test_prompts_are_cut_half_of_the_time_at_full_strength():
    rng = np.random.default_rng(5)
    lengths = np.array([len(cut_short(GENES, 1.0, rng)) for _ in range(1000)])
    assert np.mean(lengths < 200) == pytest.approx(0.5, abs=0.05)
    assert lengths.min() >= SHORTEST
    assert cut_short(GENES[:SHORTEST], 1.0, rng) == GENES[:SHORTEST]
    assert all(cut_short(GENES, 0.0, rng) is GENES for _ in range(100))
