"""From ranks to counts: a predicted sentence as a cell that a sequencer could have read.

A sentence has no counts, and what takes counts (tests of differential expression, cell-eval2)
cannot read it. Its cell gets as many counts as the cell that it was predicted from: every gene of
the rank fit has one, and the others are drawn among the genes in proportion to what the fit expects
beyond that one, then sorted, so that a gene has never fewer counts than one behind it. Drawing
gives the counts the noise of sampling, without which every difference would be significant.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse


def counts_by_rank(values: np.ndarray, depth: int, rng: np.random.Generator) -> np.ndarray:
    """Counts of one cell's genes.

    Parameters
    ----------
    values
        float (n_genes,): expression before the logarithm, above 0, highest first.
    depth
        Counts of the cell. With fewer counts than genes, the first genes have one each.
    rng
        Draws the counts.

    Returns
    -------
    int64 (n_genes,), in descending order; their sum is `depth`, if there is a gene.
    """
    values = np.asarray(values, dtype=np.float64)
    counts = np.zeros(values.size, dtype=np.int64)
    counts[:depth] = 1
    left = depth - int(counts.sum())
    if values.size and left:
        beyond = np.maximum(depth * values / values.sum() - 1, 0)
        counts += np.sort(rng.multinomial(left, beyond / beyond.sum()))[::-1]
    return counts


def by_rank_values(n_genes: int, slope: float, intercept: float) -> np.ndarray:
    """Expression before the logarithm of the first genes of a sentence, float64.

    Parameters
    ----------
    n_genes
        Of the sentence.
    slope, intercept
        Of the rank fit, of log10 (1 + x).

    Returns
    -------
    Values above 0 only: as in X, genes behind them are not expressed.
    """
    fitted = intercept + slope * np.log10(np.arange(1, n_genes + 1))
    values = 10 ** fitted[fitted > 0] - 1
    return values[values > 0]


def sentence_counts(
    lengths: Sequence[int],
    depths: Sequence[int] | np.ndarray,
    slope: float,
    intercept: float,
    seed: int,
    first: int = 0,
) -> list[np.ndarray]:
    """Counts of the first genes of several sentences.

    Parameters
    ----------
    lengths
        Genes of each.
    depths
        Counts of the cell that each was predicted from.
    slope, intercept
        Of the rank fit, which falls with the rank.
    seed, first
        A cell's draws depend on the seed and its number alone, whatever the blocks: `first` is that
        of the first of these.
    """
    values = by_rank_values(max(lengths, default=0), slope, intercept)
    return [
        counts_by_rank(values[:length], int(depth), np.random.default_rng([seed, first + row]))
        for row, (length, depth) in enumerate(zip(lengths, depths, strict=True))
    ]


def rows_of_genes(
    genes: Sequence[Sequence[int]], counts: Sequence[np.ndarray], n_vars: int
) -> sparse.csr_matrix:
    """CSR float32 (n_cells, n_vars): counts of the first genes of each sentence, by column."""
    none = np.empty(0, dtype=np.int64)
    columns = [
        np.asarray(row[: own.size], dtype=np.int64) for row, own in zip(genes, counts, strict=True)
    ]
    pointers = np.cumsum([0, *(own.size for own in counts)])
    values = np.concatenate([none, *counts]).astype(np.float32)
    entries = (values, np.concatenate([none, *columns]), pointers)
    matrix = sparse.csr_matrix(entries, (len(genes), n_vars))
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix
