"""Cells in memory as a table of cell sentences, a row a cell."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.backed import CellData
from c2sflow.data.genes.organisms import PER_CELL, cell_organisms, find_organism
from c2sflow.data.genes.references import GENOME_SHARE
from c2sflow.data.genes.symbols import find_symbols, gene_symbols
from c2sflow.data.orientation import check_orientation
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State, normalise
from c2sflow.data.state.reading import find_state
from c2sflow.data.views import View, apply_view, genome_shares
from c2sflow.sentences.rank_fit import RankFit
from c2sflow.sentences.ranking import SentenceMaker, gene_words

LOGGER = logging.getLogger(__name__)
SAMPLE = "adata"  # name of the only sample


def sentence_table(
    adata: AnnData,
    *,
    organism: str | None = None,
    perturbation_column: str | None = None,
    max_genes: int | None = None,
    seed: int = 42,
    return_fit: bool = False,
    view: View | None = None,
) -> pd.DataFrame:
    """Turn cells into cell sentences: see `c2sflow.api.cell2sen.Cell2Sen.process_data`.

    Parameters
    ----------
    adata
        Cells × genes, not changed.
    organism, perturbation_column, max_genes, seed, return_fit
        See `c2sflow.api.config.Cell2SenConfig`.
    view
        Which matrix, features and genome are read; None for what `View` has by default. A cell that
        is not of the genome has an empty sentence.

    Returns
    -------
    A row for each cell; ``attrs`` holds the genes (word in a sentence: symbol) and the rank_fit.
    """
    if perturbation_column is not None and perturbation_column not in adata.obs:
        raise UserError(f"perturbation_column {perturbation_column!r}: obs has no such column")
    with open_anndata(adata) as data:
        viewed = apply_view(data, view or View(), SAMPLE)
        for line in viewed.lines:
            LOGGER.warning("%s", line)
        found_state, _ = find_state(data, "auto", SAMPLE)
        state = found_state.state
        check_orientation(data.obs.index, data.var_names, SAMPLE)
        symbols, _ = gene_symbols(data.var, find_symbols(data.var, "auto", SAMPLE))
        found = find_organism(organism or "auto", data, symbols, SAMPLE)
        LOGGER.info("%d cells × %d genes, %s, %s", data.n_obs, data.n_vars, found, state)
        LOGGER.info(found_state.evidence)
        for line in found_state.warnings:
            LOGGER.warning(line)
        names = cell_organisms(data.obs) if found == PER_CELL else found
        table = data.obs.assign(cell_id=data.obs.index, sample=SAMPLE, organism=names)
        words = gene_words(symbols)
        maker = SentenceMaker(words, max_genes=max_genes, seed=seed)
        blocks = _blocks(data, state, genome_shares(data, viewed, state))
        fit = _add_sentences(table, blocks, maker)
    table["fit_parameters"] = [fit if return_fit else None] * len(table)
    labels = pd.Series(index=table.index, dtype=object)
    if perturbation_column is not None:
        labels = table[perturbation_column].astype(object)
    table["perturbations"] = labels.where(labels.notna(), None)
    table.attrs = {"genes": dict(zip(words, symbols, strict=True)), "rank_fit": fit}
    return table


def _blocks(data: CellData, state: State, shares: np.ndarray | None) -> Iterator[sparse.csr_matrix]:
    """Log-normalised cells; without genes those that are not of the genome chosen."""
    for start, block in data.chunks():
        if shares is not None:
            own = ~(shares[start : start + block.shape[0]] < GENOME_SHARE)
            block = sparse.csr_matrix(sparse.diags_array(own.astype(block.dtype)) @ block)
            block.eliminate_zeros()
        yield normalise(block, state)


def _add_sentences(
    table: pd.DataFrame, blocks: Iterable[sparse.csr_matrix], maker: SentenceMaker
) -> dict[str, float]:
    """Add cell_sentence and n_genes; give the fit of expression to rank."""
    fit = RankFit()
    sentences: list[str] = []
    lengths: list[int] = []
    for block in blocks:
        ids = table["cell_id"].iloc[len(sentences) : len(sentences) + block.shape[0]]
        ranked = maker(sparse.csr_matrix(block), ids)
        sentences += ranked.texts.to_pylist()
        lengths += ranked.lengths.tolist()
        fit.add_cells(ranked.values, ranked.lengths)
    table["cell_sentence"], table["n_genes"] = sentences, np.array(lengths, dtype=int)
    return fit.solve()
