"""Which genes look at which: the strongest pairs of each label, from its cells' attention maps.

The first genes of a sentence are looked at from everywhere. A pair is therefore compared with what
its positions alone make: the attention between the same positions with genes in random order.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from c2sflow.model.attention_files import MappedCell

LOGGER = logging.getLogger(__name__)
MOST_PAIRS = 100  # of each label
COLUMNS = [
    "label",
    "query_gene",
    "key_gene",
    "attention",
    "shuffled_attention",
    "excess",
    "excess_se",
    "strongest_head",
    "strongest_head_attention",
    "strongest_head_shuffled",
    "n_cells",
    "n_cells_label",
]


def least_cells(n_cells: int) -> int:
    """Cells a pair must be seen in to be listed: a tenth of the label's, and at least 2.

    Of a label with one cell, that one.
    """
    return min(n_cells, max(2, -(-n_cells // 10)))


def pair_table(cells: Iterable[MappedCell]) -> pd.DataFrame:
    """The strongest gene pairs of each label.

    Returns
    -------
    A row for each pair, by label, the largest excess first: label, query_gene, key_gene; attention
    (mean over heads), shuffled_attention (that between the same positions with genes in random
    order, mean over the label's cells), excess (their difference) and excess_se (its standard error
    over cells); strongest_head (from 0, of the largest excess), strongest_head_attention,
    strongest_head_shuffled; n_cells (cells of the label whose sentence holds both genes),
    n_cells_label. Figures are means over those n_cells; a cell in which the query is before the
    key counts as 0 in both, for it cannot look ahead.
    """
    by_label = defaultdict(list)
    for cell in cells:
        by_label[cell.label].append(cell)
    tables = [_strongest_pairs(label, by_label[label]) for label in sorted(by_label)]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    LOGGER.info("attention_pairs.tsv: %d pairs of %d labels", len(table), len(by_label))
    return table[COLUMNS]


def _strongest_pairs(label: str, cells: Sequence[MappedCell]) -> pd.DataFrame:
    """The pairs of one label.

    Memory grows with the square of the genes that enough cells share, and of the longest sentence,
    not with the cells or heads: one head of one cell is read at a time.
    """
    # Sums depend on their order in the last digit: it is not that of the shards.
    cells = sorted(cells, key=lambda cell: (cell.sample, cell.cell_id))
    least = least_cells(len(cells))
    sentences = [cell.genes() for cell in cells]
    genes, places = _common_genes(sentences, least)
    longest = max(map(len, sentences))
    shape = (len(genes), len(genes))
    n_cells = np.zeros(shape, dtype=np.int32)
    for _, common in places:
        n_cells[np.ix_(common, common)] += 1
    total, expected, by_position = np.zeros(shape), np.zeros(shape), np.zeros((longest, longest))
    head, strongest = np.zeros(shape, dtype=np.int16), np.full(shape, -np.inf)
    heads = np.zeros((2, *shape))  # attention and baseline of the strongest head
    for number in range(cells[0].n_heads):
        positions = _mean_by_position(cells, number, longest)
        pair = np.zeros((2, *shape))
        for cell, (place, common) in zip(cells, places, strict=True):
            here, there = np.ix_(common, common), np.ix_(place, place)
            pair[0][here] += cell.head(number)[there]
            pair[1][here] += positions[there]
        pair /= np.maximum(n_cells, 1)
        stronger = pair[0] - pair[1] > strongest
        strongest[stronger], head[stronger] = (pair[0] - pair[1])[stronger], number
        heads[:, stronger] = pair[:, stronger]
        total += pair[0]
        expected += pair[1]
        by_position += positions
    for sums in (total, expected, by_position):
        sums /= cells[0].n_heads
    listed = (n_cells >= least) & (total > 0)
    np.fill_diagonal(listed, False)
    pairs = _highest(total - expected, listed)
    return pd.DataFrame(
        {
            "label": label,
            "query_gene": genes[pairs[0]],
            "key_gene": genes[pairs[1]],
            "attention": total[pairs],
            "shuffled_attention": expected[pairs],
            "excess": (total - expected)[pairs],
            "excess_se": _standard_errors(cells, places, by_position, pairs),
            "strongest_head": head[pairs],
            "strongest_head_attention": heads[0][pairs],
            "strongest_head_shuffled": heads[1][pairs],
            "n_cells": n_cells[pairs],
            "n_cells_label": len(cells),
        }
    )


def _mean_by_position(cells: Sequence[MappedCell], head: int, longest: int) -> np.ndarray:
    """Attention of a head between positions, genes in random order: mean over the label's cells.

    Of each pair of positions, over the cells whose sentence is that long; float (longest, longest).
    """
    total, n_cells = np.zeros((longest, longest)), np.zeros((longest, longest), dtype=np.int32)
    for cell in cells:
        own = cell.shuffled_head(head)
        total[: len(own), : len(own)] += own
        n_cells[: len(own), : len(own)] += 1
    return total / np.maximum(n_cells, 1)


def _standard_errors(
    cells: Sequence[MappedCell],
    places: Sequence[tuple[np.ndarray, np.ndarray]],
    by_position: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Of the mean excess of each pair over the cells that hold both genes; NaN of one cell.

    Without the baseline's own error, which is a mean over all cells of the label and some orders.
    """
    excess = np.full((len(cells), pairs[0].size), np.nan)
    for row, (cell, (place, common)) in enumerate(zip(cells, places, strict=True)):
        at = np.full(max(common.max(initial=0), *(p.max(initial=0) for p in pairs)) + 1, -1)
        at[common] = place
        query, key = (at[genes] for genes in pairs)
        there = (query >= 0) & (key >= 0)
        query, key = query[there], key[there]
        mean = sum(cell.head(n)[query, key].astype(float) for n in range(cell.n_heads))
        excess[row, there] = mean / cell.n_heads - by_position[query, key]
    n = np.isfinite(excess).sum(axis=0)
    deviations = excess - np.nansum(excess, axis=0) / np.maximum(n, 1)
    squares = np.nansum(deviations**2, axis=0)
    return np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1) / np.maximum(n, 1)), np.nan)


def _common_genes(
    sentences: Sequence[np.ndarray], least: int
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Genes in at least so many sentences, by name; and for each sentence the positions of those
    it holds: in the sentence, and among the common genes."""
    counts = Counter(gene for sentence in sentences for gene in sentence.tolist())
    genes = np.array(sorted(gene for gene, count in counts.items() if count >= least), dtype=str)
    number = {gene: n for n, gene in enumerate(genes.tolist())}
    places = []
    for sentence in sentences:
        common = np.array([number.get(gene, -1) for gene in sentence.tolist()], dtype=np.int64)
        place = np.flatnonzero(common >= 0)
        places.append((place, common[place]))
    return genes, places


def _highest(values: np.ndarray, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the `MOST_PAIRS` highest values that are listed; ties by position."""
    found = values[listed]
    if found.size > MOST_PAIRS:
        listed = listed & (values >= np.partition(found, -MOST_PAIRS)[-MOST_PAIRS])
    rows, columns = np.nonzero(listed)
    order = np.argsort(-values[rows, columns], kind="stable")[:MOST_PAIRS]
    return rows[order], columns[order]
