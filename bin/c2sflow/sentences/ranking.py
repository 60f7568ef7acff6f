"""Cells to cell sentences: gene symbols in descending order of expression.

The method is that of Cell2Sentence (Levine et al., ICML 2024; Rizvi et al., 2025): genes with a
value above 0, highest first, upper-case, separated by a space. 97 % and more of a cell's genes
tie with another; ties are broken at random, as in C2S, but by a hash of seed, cell id and gene
symbol: the same cell gives the same sentence in any shard, order, run and order of genes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
from anndata.utils import make_index_unique
from pandas import Index
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.backed import CellData

TieBreak = Literal["random", "gene_order"]
Words = Sequence[str] | np.ndarray  # of the genes, as `gene_words` makes them
GROUP = 64  # cells ranked at once: what is made of them stays in the processor's cache


def gene_words(var_names: Iterable[str]) -> np.ndarray:
    """The word of each gene in a sentence: its symbol in upper case.

    Symbols that differ in case only are made unique as scanpy does it ("-1", "-2", …), and white
    space and commas become "_", so that a sentence splits into exactly its genes.

    Raises
    ------
    UserError
        If a name is empty.
    """
    words = ["_".join(str(name).upper().replace(",", " ").split()) for name in var_names]
    if "" in words:
        raise UserError(f"gene {words.index('') + 1} of {len(words)} has no name; name it")
    return make_index_unique(Index(words)).to_numpy(dtype=object)


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def gene_hashes(words: Words) -> np.ndarray:
    """uint64 hash of each gene's word."""
    return np.array([_hash64(word) for word in words], dtype=np.uint64)


def _mix(keys: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64 (Steele et al., 2014): equidistributes uint64 keys, in place."""
    shifted = keys >> np.uint64(30)
    keys ^= shifted
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    keys ^= np.right_shift(keys, np.uint64(27), out=shifted)
    keys *= np.uint64(0x94D049BB133111EB)
    keys ^= np.right_shift(keys, np.uint64(31), out=shifted)
    return keys


def rank_cells(
    values: np.ndarray,
    genes: np.ndarray,
    pointers: np.ndarray,
    hashes: np.ndarray | None,
    cell_hashes: Sequence[int],
    max_genes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Order of the genes of some cells.

    Parameters
    ----------
    values
        float32 (nnz,): expression, all above 0, of one cell after the other.
    genes
        int (nnz,): the genes' positions in `hashes`.
    pointers
        int (n_cells + 1,): where each cell begins, and the end.
    hashes
        uint64 (n_vars,) from `gene_hashes`, or None to break ties by position.
    cell_hashes
        uint64 (n_cells,): of seed and cell id.
    max_genes
        Give each cell's first so many only; None gives all.

    Returns
    -------
    Positions in `values`, one cell after the other, highest expression first; and pointers to
    where each cell begins among them, and the end.
    """
    if max_genes is None:
        return _sorted(values, genes, pointers, hashes, cell_hashes), pointers
    kept = _candidates(values, pointers, max_genes)
    pointers = np.searchsorted(kept, pointers)
    order = kept[_sorted(values[kept], genes[kept], pointers, hashes, cell_hashes)]
    lengths = np.diff(pointers)
    first = np.arange(order.size) - np.repeat(pointers[:-1], lengths) < max_genes
    return order[first], np.concatenate([[0], np.cumsum(np.minimum(lengths, max_genes))])


def _candidates(values: np.ndarray, pointers: np.ndarray, max_genes: int) -> np.ndarray:
    """Positions of what can be among the first: the last of them, what ties with it, and above."""
    least = np.zeros(pointers.size - 1, np.float32)
    for cell, (start, stop) in enumerate(pairwise(pointers)):
        last = stop - start - max_genes
        if last > 0:
            least[cell] = np.partition(values[start:stop], last)[last]
    return np.flatnonzero(values >= np.repeat(least, np.diff(pointers)))


def _sorted(
    values: np.ndarray,
    genes: np.ndarray,
    pointers: np.ndarray,
    hashes: np.ndarray | None,
    cell_hashes: Sequence[int],
) -> np.ndarray:
    # The bits of a positive float32 order as the float does: value and tie fit one 64-bit key,
    # and one sort does for both.
    keys = (~values.view(np.uint32)).astype(np.uint64)
    keys <<= np.uint64(32)
    if hashes is None:
        keys |= genes.astype(np.uint64)
    else:
        ties = hashes[genes]
        ties ^= np.repeat(np.asarray(cell_hashes, np.uint64), np.diff(pointers))
        ties = _mix(ties)
        keys |= ties >> np.uint64(32)
    order = np.empty(keys.size, np.intp)
    for start, stop in pairwise(pointers):
        np.add(np.argsort(keys[start:stop]), start, out=order[start:stop])
    if hashes is not None:
        ordered = keys[order]
        same = np.flatnonzero(ordered[1:] == ordered[:-1])
        # 32 bits collide in about one cell of 10,000.
        for cell in np.unique(np.searchsorted(pointers, same, side="right") - 1):
            own = slice(pointers[cell], pointers[cell + 1])
            order[own] = np.lexsort((ties[own], ~values[own].view(np.uint32))) + own.start
    return order


def _contents(values: np.ndarray, hashes: np.ndarray, pointers: np.ndarray) -> np.ndarray:
    """Hash of each cell's genes and values: a sum, in which the order of the genes is nothing."""
    keys = values.view(np.uint32).astype(np.uint64)
    keys *= np.uint64(0x9E3779B97F4A7C15)
    keys ^= hashes
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mix(keys), dtype=np.uint64)])
    return sums[pointers[1:]] - sums[pointers[:-1]]


def cell_contents(data: CellData, min_genes: int = 1) -> np.ndarray:
    """Hash of each cell's genes and values as they are stored, block by block.

    Returns
    -------
    uint64 (n_cells,); 0 for cells of fewer than `min_genes` genes, which may be alike by chance.
    """
    words, found = gene_hashes(gene_words(data.var_names)), [np.empty(0, np.uint64)]
    for _, block in data.chunks():
        values = block.data.astype(np.float32, copy=False)
        hashes = _contents(values, words[block.indices], block.indptr)
        hashes[np.diff(block.indptr) < min_genes] = 0
        found.append(hashes)
    return np.concatenate(found)


@dataclass(frozen=True)
class Sentences:
    """Sentences of some cells.

    Attributes
    ----------
    texts
        (n_cells,) strings.
    values
        float32 (n_words,): the values of their genes, one sentence after the other.
    lengths
        int (n_cells,): genes of each sentence.
    contents
        uint64 (n_cells,): hash of the cell's genes and values, whatever its name and the order of
        ties; None where it was not asked for.
    """

    texts: pa.ChunkedArray
    values: np.ndarray
    lengths: np.ndarray
    contents: np.ndarray | None = None

    def cells(self) -> Iterator[tuple[str, np.ndarray]]:
        """The text and the values of each cell."""
        values = np.split(self.values, np.cumsum(self.lengths)[:-1])
        return zip(self.texts.to_pylist(), values, strict=True)


class SentenceMaker:
    """Makes sentences of blocks of cells; several threads may use one at the same time.

    Parameters
    ----------
    words
        From `gene_words`, (n_vars,).
    max_genes
        Keep the first so many genes of each cell; None keeps all.
    tie_break
        "random" (seeded), or "gene_order" (the order of `words`).
    seed
        Decides the order of ties, together with the name of the cell.
    contents
        Hash the cells' genes and values, too.
    """

    def __init__(
        self,
        words: Words,
        *,
        max_genes: int | None = None,
        tie_break: TieBreak = "random",
        seed: int = 42,
        contents: bool = False,
    ):
        self._max_genes = max_genes
        self._seed = seed
        self._hashes = gene_hashes(words) if tie_break == "random" else None
        self._content_hashes = gene_hashes(words) if contents else None
        # Every word with a space behind it, then without one: the last of a sentence.
        self._words = pa.array([f"{word} " for word in words] + list(words), pa.string())

    def __call__(self, matrix: sparse.csr_matrix, cell_ids: Sequence[str]) -> Sentences:
        """Make the sentences of a block.

        Parameters
        ----------
        matrix
            CSR (n_cells, n_vars), log-normalised; entries ≤ 0 are no expression.
        cell_ids
            Names of the cells.
        """
        matrix, ids = matrix.tocsr(), list(cell_ids)
        groups = [
            self._group(matrix, start, ids[start : start + GROUP])
            for start in range(0, len(ids), GROUP)
        ]
        texts, values, lengths, contents = zip(*groups, strict=True) if groups else ((),) * 4
        hashed = self._content_hashes is not None
        return Sentences(
            pa.chunked_array(texts, pa.string()),
            np.concatenate([np.empty(0, np.float32), *values]),
            np.concatenate([np.empty(0, np.intp), *lengths]),
            np.concatenate([np.empty(0, np.uint64), *contents]) if hashed else None,
        )

    def _group(
        self, matrix: sparse.csr_matrix, first: int, cell_ids: list[str]
    ) -> tuple[pa.StringArray, np.ndarray, np.ndarray, np.ndarray | None]:
        pointers = matrix.indptr[first : first + len(cell_ids) + 1]
        span = slice(pointers[0], pointers[-1])
        pointers = pointers - pointers[0]
        values, genes = matrix.data[span].astype(np.float32, copy=False), matrix.indices[span]
        if values.size and values.min() <= 0:
            expressed = np.flatnonzero(values > 0)
            pointers = np.searchsorted(expressed, pointers)
            values, genes = values[expressed], genes[expressed]
        contents = None
        if self._content_hashes is not None:
            contents = _contents(values, self._content_hashes[genes], pointers)
        cell_hashes = [_hash64(f"{self._seed}:{name}") for name in cell_ids]
        order, pointers = rank_cells(
            values, genes, pointers, self._hashes, cell_hashes, self._max_genes
        )
        texts = self._joined(genes[order], pointers)
        return texts, values[order], np.diff(pointers), contents

    def _joined(self, genes: np.ndarray, pointers: np.ndarray) -> pa.StringArray:
        """Sentences of ranked genes, without a string of Python for each.

        The words taken follow each other in memory, spaces included: they are the sentences,
        whose bounds are those of their first words.
        """
        last = pointers[1:][np.diff(pointers) > 0] - 1
        genes[last] += len(self._words) // 2
        words = self._words.take(pa.array(genes))
        if not len(words):
            return pa.array([""] * (pointers.size - 1), pa.string())
        _, bounds, text = words.buffers()
        bounds = np.frombuffer(bounds, np.int32, len(words) + 1)[pointers]
        return pa.StringArray.from_buffers(pointers.size - 1, pa.py_buffer(bounds), text)


def cell_sentences(
    matrix: sparse.csr_matrix,
    cell_ids: Sequence[str],
    words: Words,
    *,
    max_genes: int | None = None,
    tie_break: TieBreak = "random",
    seed: int = 42,
) -> Iterator[tuple[str, np.ndarray]]:
    """The sentence of each cell, and the float32 values of its genes in the same order.

    Parameters
    ----------
    matrix, cell_ids
        See `SentenceMaker.__call__`.
    words, max_genes, tie_break, seed
        See `SentenceMaker`.
    """
    maker = SentenceMaker(words, max_genes=max_genes, tie_break=tie_break, seed=seed)
    return maker(matrix, cell_ids).cells()
