"""How far two cell sentences agree: in their genes, and in the order of these.

Both sentences are cut to the same length first, k or that of the shorter one: a predicted sentence
ends where its answer did, and that says nothing of the genes below.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import kendalltau


def _cut(one: Sequence, other: Sequence, k: int | None) -> tuple[Sequence, Sequence]:
    depth = min(len(one), len(other), *([] if k is None else [k]))
    return one[:depth], other[:depth]


def gene_overlap(one: Sequence, other: Sequence, k: int | None = None) -> float:
    """Share of the first k genes of one sentence that are among the first k of the other.

    Parameters
    ----------
    one, other
        Genes, highest first, each once.
    k
        None for the length of the shorter one, which is also taken where k is more.

    Returns
    -------
    0 to 1; NaN if a sentence holds no gene.
    """
    one, other = _cut(one, other, k)
    return len(set(one) & set(other)) / len(one) if len(one) else np.nan


def rank_agreement(one: Sequence, other: Sequence, k: int | None = None) -> float:
    """Kendall's τ between the orders of the genes that both of the first k hold (scipy).

    1: the same order; -1: reversed; about 0: unrelated. How many they share is
    `gene_overlap`'s to say. NaN for fewer than two shared genes.
    """
    one, other = _cut(one, other, k)
    place = {gene: n for n, gene in enumerate(other)}
    places = [place[gene] for gene in one if gene in place]
    return kendalltau(np.arange(len(places)), places).statistic if len(places) > 1 else np.nan


def mean_order(means: np.ndarray) -> np.ndarray:
    """Genes as a pseudobulk sentence has them: by descending mean, those above 0.

    Parameters
    ----------
    means
        float (n_genes,): mean expression over the cells.

    Returns
    -------
    int: positions of the genes; ties in the order of the genes.
    """
    order = np.argsort(-means, kind="stable")
    return order[: np.count_nonzero(means > 0)]
