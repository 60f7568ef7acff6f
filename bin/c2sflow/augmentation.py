"""Noise on cell sentences, so that a model learns what cells of a kind share and not each by heart.

A sentence holds no counts, so the molecules it comes from are guessed by Zipf's law: of a sentence
of n genes, the gene of rank r stands for n / r of them. What another draw of molecules would have
given follows from that: the first genes keep their places, the many that stand for one or two
molecules come in another order or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# At full strength.
MIXED = 0.5  # share of the cells that are mixed with another; and the most of it that is foreign
LOST = 0.2  # most of the genes that are lost beside
CUT = 0.5  # share of the prompts that end early
SHORTEST = 40  # genes


def resampled(
    genes: Sequence[str],
    strength: float,
    rng: np.random.Generator,
    other: Sequence[str] | None = None,
) -> list[str]:
    """The sentence of a cell as another draw of molecules could have given it.

    Parameters
    ----------
    genes
        The sentence.
    strength
        0 to 1: 1 draws as many molecules as the sentence stands for, less draws more, so that
        noise falls in proportion; with it falls the share of other cells, and of lost genes.
    other
        Sentence of a cell of the same kind, to mix in.
    """
    expected = {gene: len(genes) / rank for rank, gene in enumerate(genes, 1)}
    if other is not None and rng.random() < MIXED:
        share = rng.uniform(0, MIXED * strength)
        expected = {gene: (1 - share) * count for gene, count in expected.items()}
        for rank, gene in enumerate(other, 1):
            expected[gene] = expected.get(gene, 0.0) + share * len(genes) / rank
    words = list(expected)
    counts = rng.poisson(np.fromiter(expected.values(), float) / strength**2)
    lost = rng.random(len(words)) < rng.uniform(0, LOST * strength)
    order = np.lexsort((rng.random(len(words)), -counts))  # equal counts in random order
    kept = [words[place] for place in order if counts[place] and not lost[place]]
    return kept[: len(genes)] or list(genes[:1])


def cut_short(genes: list[str], strength: float, rng: np.random.Generator) -> list[str]:
    """Some of the sentences without their end: a prompt may hold few genes."""
    if len(genes) <= SHORTEST or rng.random() >= CUT * strength:
        return genes
    return genes[: rng.integers(SHORTEST, len(genes) + 1)]
