"""How the genes of a predicted sentence moved against the cell's own control sentence.

An answer is shorter than its control: it ends by itself or at max_new_tokens. So both sentences
are compared as lists of the same length, their first d genes, d being the length of the shorter
one; a gene that only one of them holds stands in the other at rank d + 1, the place nearest to
where it may be (Fagin, Kumar & Sivakumar, "Comparing top k lists", 2003, location parameter
k + 1). Then no gene falls only because an answer ended, all shifts of a cell add up to 0, and
each is the smallest that the two sentences allow.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# log2 of a ratio from a difference of base-10 logarithms.
LOG2_OF_LOG10 = np.log2(10)


def compared_ranks(
    predicted: np.ndarray, control: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranks of the genes of two sentences, cut to the length of the shorter one.

    Parameters
    ----------
    predicted, control
        int (n_genes,): the genes of each sentence, highest first, each once.

    Returns
    -------
    genes, predicted rank and control rank, int (n_compared,); rank 1 is the highest, d + 1 is
    "not among the first d". Empty if either sentence is.
    """
    depth = min(predicted.size, control.size)
    predicted, control = predicted[:depth], control[:depth]
    genes = np.union1d(predicted, control)
    ranks = np.full((2, genes.size), depth + 1, dtype=np.int64)
    for row, sentence in zip(ranks, (predicted, control), strict=True):
        row[np.searchsorted(genes, sentence)] = np.arange(1, depth + 1)
    return genes, *ranks


def fold_changes(
    predicted_rank: np.ndarray, control_rank: np.ndarray, fit: Mapping[str, float]
) -> np.ndarray:
    """log2 fold change between two ranks, by one rank fit for both.

    What the fit misses of the true expression is missed on both sides. The values are
    log10(1 + x), so this is log2((1 + predicted) / (1 + control)) at 10,000 a cell; fitted values
    are not below 0, as in `c2sflow.reconstruction.expression_from_ranks`.

    Returns
    -------
    float64, of the ranks' shape; above 0 where the gene rises.
    """
    predicted, control = (
        np.maximum(fit["intercept"] + fit["slope"] * np.log10(ranks), 0)
        for ranks in (predicted_rank, control_rank)
    )
    return (predicted - control) * LOG2_OF_LOG10
