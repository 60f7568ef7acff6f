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
from c2sflow.data.columns import free_name
from c2sflow.data.genes.excel_dates import dates_note
from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.genes.organisms import PER_CELL, cell_organisms, find_organism
from c2sflow.data.genes.references import GENOME_SHARE
from c2sflow.data.genes.symbol_tables import add_symbols, is_table, read_symbols
from c2sflow.data.genes.symbols import find_symbols, gene_symbols
from c2sflow.data.obs.held_values import offer_columns
from c2sflow.data.orientation import check_orientation
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State, normalise
from c2sflow.data.state.reading import find_state
from c2sflow.data.views import View, apply_view, genome_shares
from c2sflow.sentences.rank_fit import RankFit
from c2sflow.sentences.ranking import SentenceMaker, TieBreak, gene_words

LOGGER = logging.getLogger(__name__)
SAMPLE = "adata"  # name of the only sample
# Columns of the table that are ours; obs may have some of them, too.
OURS = (
    "cell_id", "sample", "organism", "cell_sentence", "n_genes", "fit_parameters", "perturbations",
)  # fmt: skip


def sentence_table(
    adata: AnnData,
    *,
    organism: str | None = None,
    perturbation_column: str | None = None,
    max_genes: int | None = None,
    seed: int = 42,
    tie_break: TieBreak = "random",
    return_fit: bool = False,
    view: View | None = None,
    input_state: str = "auto",
    symbols: str = "auto",
) -> pd.DataFrame:
    """Turn cells into cell sentences: see `c2sflow.api.cell2sen.Cell2Sen.process_data`.

    Parameters
    ----------
    adata
        Cells × genes, not changed.
    organism, perturbation_column, max_genes, seed, tie_break, return_fit, input_state
        See `c2sflow.api.config.Cell2SenConfig`.
    symbols
        Its gene_symbols.
    view
        Which matrix, features and genome are read; None for what `View` has by default. A cell that
        is not of the genome has an empty sentence.

    Returns
    -------
    A row for each cell; ``attrs`` holds the genes (word in a sentence: symbol), the rank_fit, and
    the input_columns: name in the table of each column of obs that has a name of ours.
    """
    if perturbation_column is not None and perturbation_column not in adata.obs:
        raise UserError(
            f"perturbation_column {perturbation_column!r}: obs has no such column "
            + offer_columns(adata.obs, perturbation_column)
        )
    with open_anndata(adata) as data:
        viewed = apply_view(data, view or View(), SAMPLE, input_state)
        for line in viewed.lines:
            LOGGER.warning("%s", line)
        found_state, _ = find_state(data, input_state, SAMPLE)
        state = found_state.state
        check_orientation(data.obs.index, data.var_names, SAMPLE)
        names = _symbols(data, symbols)
        found = find_organism(organism or "auto", data, names, SAMPLE)
        LOGGER.info("%d cells × %d genes, %s, %s", data.n_obs, data.n_vars, found, state)
        LOGGER.info(found_state.evidence)
        for line in found_state.warnings:
            LOGGER.warning(line)
        organisms = cell_organisms(data.obs) if found == PER_CELL else found
        kept = {name: free_name(f"input_{name}", data.obs) for name in OURS if name in data.obs}
        table = data.obs.rename(columns=kept)
        table = table.assign(cell_id=data.obs.index, sample=SAMPLE, organism=organisms)
        words = gene_words(names)
        maker = SentenceMaker(words, max_genes=max_genes, tie_break=tie_break, seed=seed)
        blocks = _blocks(data, state, genome_shares(data, viewed, state))
        fit = _add_sentences(table, blocks, maker)
    table["fit_parameters"] = [fit if return_fit else None] * len(table)
    labels = pd.Series(index=table.index, dtype=object)
    if perturbation_column is not None:
        labels = table[kept.get(perturbation_column, perturbation_column)].astype(object)
    table["perturbations"] = labels.where(labels.notna(), None)
    genes = dict(zip(words, names, strict=True))
    table.attrs = {"genes": genes, "rank_fit": fit, "input_columns": kept}
    return table


def check_table(table: pd.DataFrame) -> None:
    """Raise UserError unless the table has what `sentence_table` put into its ``attrs``."""
    if "genes" not in table.attrs:
        raise UserError("the dataset has no attrs['genes']: give what process_data made")


def source_obs(table: pd.DataFrame) -> pd.DataFrame:
    """obs of the cells of a table, each once, as the workflow's c2s.h5ad would have it.

    Returns
    -------
    The columns of the input's obs, sample and c2s_organism, indexed by cell_id.
    """
    table = table[~table["cell_id"].duplicated()]
    kept = {n: stored for n, stored in table.attrs["input_columns"].items() if n != "sample"}
    made = [name for name in OURS if name not in ("sample", "organism")]
    obs = table.drop(columns=[*made, *kept.values()])
    obs = obs.assign(**{name: table[stored] for name, stored in kept.items()})
    obs["sample"] = pd.Categorical(table["sample"])
    obs[ORGANISM] = pd.Categorical(table["organism"])
    if "organism" not in kept:
        obs["organism"] = obs[ORGANISM]
    return obs.set_axis(table["cell_id"].astype(str).to_numpy())


def _symbols(data: CellData, given: str) -> pd.Index:
    """Symbol of each gene: from the names, a column of var, or a table of identifiers."""
    if is_table(given):
        column = add_symbols(data, read_symbols(given), SAMPLE)
    else:
        column = find_symbols(data.var, given, SAMPLE)
    symbols, counts = gene_symbols(data.var, column, SAMPLE)
    if column is not None:
        LOGGER.info(
            "symbols of %d of %d genes from var[%r]", len(symbols) - counts["missing"],
            len(symbols), column,
        )  # fmt: skip
    for line in dates_note(symbols):
        LOGGER.warning("%s", line)
    return symbols


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
