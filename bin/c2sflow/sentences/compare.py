"""Cell sentences compared: shifts of ranks, and agreement of genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import kendalltau

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
    are not below 0, as in `c2sflow.sentences.rank_fit.expression_from_ranks`.

    Returns
    -------
    float64, of the ranks' shape; above 0 where the gene rises.
    """
    predicted, control = (
        np.maximum(fit["intercept"] + fit["slope"] * np.log10(ranks), 0)
        for ranks in (predicted_rank, control_rank)
    )
    return (predicted - control) * LOG2_OF_LOG10


Genes = Sequence[object] | np.ndarray  # of a sentence, highest first: names or columns


def _cut(one: Genes, other: Genes, k: int | None) -> tuple[Genes, Genes]:
    depth = min(len(one), len(other), *([] if k is None else [k]))
    return one[:depth], other[:depth]


def gene_overlap(one: Genes, other: Genes, k: int | None = None) -> float:
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


def rank_agreement(one: Genes, other: Genes, k: int | None = None) -> float:
    """Kendall's τ between the orders of the genes that both of the first k hold (scipy).

    1: the same order; -1: reversed; about 0: unrelated. How many they share is
    the matter of `gene_overlap`. NaN for fewer than two shared genes.
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


def chance_overlap(depth: float, n_genes: int) -> float:
    """Expected overlap of the first `depth` of two random orders of `n_genes` genes."""
    return min(1.0, depth / n_genes) if n_genes else np.nan


def top_genes(levels: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """`mean_order` of many rows, cut.

    Parameters
    ----------
    levels
        float (n_rows, n_genes).

    Returns
    -------
    int (n_rows, depth), genes by descending level; and how many genes of each row are above 0,
    int (n_rows,), 0 for a row of NaN.
    """
    return np.argsort(-levels, axis=1, kind="stable")[:, :depth], (levels > 0).sum(axis=1)


def agreement_of_rows(
    one: np.ndarray, other: np.ndarray, depths: np.ndarray, n_genes: int
) -> tuple[np.ndarray, np.ndarray]:
    """`gene_overlap` and `rank_agreement` of each row of two arrays of genes.

    Parameters
    ----------
    one, other
        int (n_rows, n), each gene once a row.
    depths
        int (n_rows,): how many of each row are compared.

    Returns
    -------
    Two of float64 (n_rows,).
    """
    n_rows, n = one.shape
    places = np.full((n_rows, n_genes), n)
    np.put_along_axis(places, other, np.arange(n)[None], axis=1)
    found = np.take_along_axis(places, one, axis=1)
    shared = (np.arange(n) < depths[:, None]) & (found < depths[:, None])
    overlap = np.divide(shared.sum(axis=1), depths, out=np.full(n_rows, np.nan), where=depths > 0)
    return overlap, _kendall_of_rows(found, shared)


def _kendall_of_rows(places: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Kendall's τ of each row between 0, 1, 2 … and the places that are kept, which all differ.

    1 - 4 · inversions / (n (n - 1)), inversions counted bit by bit over all rows at once: of two
    places that agree in the higher bits, the first is the larger one if it has the bit and the
    second has not.
    """
    n_bits = int(places.max(initial=1)).bit_length()
    rows = np.nonzero(kept)[0]
    keys = (rows << n_bits) + places[kept]  # in the order of the rows, and of the genes in them
    inversions = np.zeros(len(places))
    for bit in reversed(range(n_bits)):
        ones = keys >> bit & 1
        before = np.cumsum(ones)
        group = keys >> (bit + 1)
        start = np.searchsorted(group, group)
        larger = before - np.concatenate([[0], before])[start]
        inversions += np.bincount(keys >> n_bits, larger * (1 - ones), minlength=len(places))
        keys = keys[np.argsort(keys >> bit, kind="stable")]
    n = kept.sum(axis=1)
    pairs = n * (n - 1) / 2
    return np.divide(pairs - 2 * inversions, pairs, out=np.full(len(n), np.nan), where=pairs > 0)
