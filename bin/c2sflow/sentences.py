"""Cells to cell sentences: gene symbols in descending order of expression.

The method is that of Cell2Sentence (Levine et al., ICML 2024; Rizvi et al., 2025): genes with a
value above 0, highest first, upper-case, separated by a space. 97 % and more of a cell's genes
tie with another; ties are broken at random, as in C2S, but by a hash of seed, cell id and gene
symbol: the same cell gives the same sentence in any shard, order, run and order of genes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from anndata.utils import make_index_unique
from pandas import Index
from scipy import sparse

from c2sflow.threads import in_threads

TieBreak = Literal["random", "gene_order"]
GROUP = 64  # cells that a thread takes at once


def gene_words(var_names: Sequence[str]) -> np.ndarray:
    """The word of each gene in a sentence: its symbol in upper case.

    Symbols that differ in case only are told apart as scanpy does it ("-1", "-2", …), and white
    space becomes "_", so that a sentence splits into exactly its genes.
    """
    words = ["_".join(str(name).upper().split()) for name in var_names]
    return make_index_unique(Index(words)).to_numpy(dtype=object)


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def gene_hashes(words: Sequence[str]) -> np.ndarray:
    """uint64 hash of each gene's word."""
    return np.array([_hash64(word) for word in words], dtype=np.uint64)


def _mix(keys: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64 (Steele et al., 2014): equidistributes uint64 keys."""
    keys = keys ^ (keys >> np.uint64(30))
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    keys ^= keys >> np.uint64(27)
    keys *= np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)
    return keys


def rank_genes(
    values: np.ndarray,
    genes: np.ndarray,
    hashes: np.ndarray | None,
    cell_hash: int,
    max_genes: int | None = None,
) -> np.ndarray:
    """Order of one cell's genes.

    Parameters
    ----------
    values
        float32 (n,): expression, all above 0.
    genes
        int (n,): the genes' positions in `hashes`.
    hashes
        uint64 (n_vars,) from `gene_hashes`, or None to break ties by position.
    cell_hash
        Hash of seed and cell id.
    max_genes
        Give the first so many only; None gives all.

    Returns
    -------
    int (n,) or (max_genes,): positions in `values`, highest expression first.
    """
    if max_genes is not None and values.size > 2 * max_genes:
        # Sort only what can be among the first: the last of them, what ties with it, and above.
        last = np.partition(values, values.size - max_genes)[values.size - max_genes]
        chosen = np.flatnonzero(values >= last)
        return chosen[rank_genes(values[chosen], genes[chosen], hashes, cell_hash)[:max_genes]]
    # The bits of a positive float32 order as the float does: value and tie fit one 64-bit key,
    # and one sort does for both.
    keys = (~values.view(np.uint32)).astype(np.uint64)
    keys <<= np.uint64(32)
    if hashes is None:
        keys |= genes.astype(np.uint64)
        return np.argsort(keys, kind="stable")[:max_genes]
    ties = _mix(hashes[genes] ^ np.uint64(cell_hash))
    keys |= ties >> np.uint64(32)
    order = np.argsort(keys)
    ordered = keys[order]
    if (ordered[1:] == ordered[:-1]).any():  # 32 bits collide in about one cell of 10,000
        order = np.lexsort((ties, ~values.view(np.uint32)))
    return order[:max_genes]


def cell_sentences(
    matrix: sparse.csr_matrix,
    cell_ids: Sequence[str],
    words: np.ndarray,
    *,
    max_genes: int | None = None,
    tie_break: TieBreak = "random",
    seed: int = 42,
    hashes: np.ndarray | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Sentences of a block of cells, made by as many threads as the task has cores.

    Parameters
    ----------
    matrix
        CSR (n_obs, n_vars), log-normalised; entries ≤ 0 are no expression.
    cell_ids
        n_obs names: with `seed` they decide the order of ties.
    words
        From `gene_words`, (n_vars,).
    max_genes
        Keep the first so many genes of each cell; None keeps all.
    tie_break
        "random" (seeded), or "gene_order" (the order of `words`).
    hashes
        `gene_hashes(words)`, if already at hand.

    Yields
    ------
    The sentence, and the float32 values of its genes in the same order.
    """
    matrix = matrix.tocsr()
    if tie_break == "gene_order":
        hashes = None
    elif hashes is None:
        hashes = gene_hashes(words)
    data = matrix.data.astype(np.float32, copy=False)
    cell_ids = list(cell_ids)

    def sentence(row: int) -> tuple[str, np.ndarray]:
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        values, genes = data[span], matrix.indices[span]
        if values.size and values.min() <= 0:
            expressed = values > 0
            values, genes = values[expressed], genes[expressed]
        cell_hash = _hash64(f"{seed}:{cell_ids[row]}") if hashes is not None else 0
        order = rank_genes(values, genes, hashes, cell_hash, max_genes)
        # A list: joining an array costs half as much again.
        return " ".join(words[genes[order]].tolist()), values[order]

    def sentences(first: int) -> list[tuple[str, np.ndarray]]:
        return [sentence(row) for row in range(first, min(first + GROUP, len(cell_ids)))]

    for group in in_threads(sentences, range(0, len(cell_ids), GROUP)):
        yield from group
