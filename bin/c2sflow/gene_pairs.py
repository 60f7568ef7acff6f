"""Which genes look at which: the strongest pairs of each label, from its cells' attention maps."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from c2sflow.attention_files import MappedCell

LOGGER = logging.getLogger(__name__)
MOST_PAIRS = 100  # of each label
COLUMNS = [
    "label",
    "query_gene",
    "key_gene",
    "attention",
    "strongest_head",
    "strongest_head_attention",
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
    A row for each pair, by label, the strongest first: label, query_gene, key_gene, attention
    (mean over heads), strongest_head (from 0), strongest_head_attention, n_cells (cells of the
    label whose sentence holds both genes), n_cells_label. Attentions are means over those n_cells;
    a cell in which the query stands before the key counts as 0, for it cannot look ahead.
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

    Memory grows with the square of the genes that enough cells share, not with the cells or
    heads: one head of one cell is read at a time.
    """
    # Sums depend on their order in the last digit: it is not that of the shards.
    cells = sorted(cells, key=lambda cell: (cell.sample, cell.cell_id))
    least = least_cells(len(cells))
    genes, places = _common_genes([cell.genes() for cell in cells], least)
    shape = (len(genes), len(genes))
    n_cells = np.zeros(shape, dtype=np.int32)
    for _, common in places:
        n_cells[np.ix_(common, common)] += 1
    total, strongest, head = np.zeros(shape), np.full(shape, -1.0), np.zeros(shape, dtype=np.int16)
    for number in range(cells[0].n_heads):
        mean = np.zeros(shape)
        for cell, (place, common) in zip(cells, places, strict=True):
            mean[np.ix_(common, common)] += cell.head(number)[np.ix_(place, place)]
        mean /= np.maximum(n_cells, 1)
        total += mean
        stronger = mean > strongest
        strongest[stronger], head[stronger] = mean[stronger], number
    total /= cells[0].n_heads
    listed = (n_cells >= least) & (total > 0)
    np.fill_diagonal(listed, False)
    pairs = _highest(total, listed)
    return pd.DataFrame(
        {
            "label": label,
            "query_gene": genes[pairs[0]],
            "key_gene": genes[pairs[1]],
            "attention": total[pairs],
            "strongest_head": head[pairs],
            "strongest_head_attention": strongest[pairs],
            "n_cells": n_cells[pairs],
            "n_cells_label": len(cells),
        }
    )


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
