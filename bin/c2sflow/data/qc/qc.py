"""Quality control of one sample: metrics, filters, symbols, normalisation. Streaming.

Two passes over the rows. The first computes scanpy's metrics of each cell, which depend on its
row alone, and counts in how many of the kept cells each gene is expressed; the second writes the
kept cells and genes. The result is that of scanpy in memory, whatever the size of the chunks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from c2sflow.common.files import write_beside
from c2sflow.common.progress import progress_bar
from c2sflow.data.backed import CellData
from c2sflow.data.bulk.bulk import TOP, TOP_GENES, bulk_table
from c2sflow.data.columns import free_name
from c2sflow.data.genes import symbol_tables
from c2sflow.data.genes.alignment import REPEATED, repeated_symbols
from c2sflow.data.genes.excel_dates import dates_note
from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.genes.organisms import PER_CELL, cell_organisms
from c2sflow.data.genes.other_features import write_features
from c2sflow.data.genes.symbols import gene_symbols, is_mitochondrial
from c2sflow.data.h5ad import DENSE_ROWS, RowWriter, append_dense, create_h5ad, write_element
from c2sflow.data.named_arrays import NUMBERS
from c2sflow.data.qc.filtered_genes import FilteredWriter
from c2sflow.data.qc.filters import Filters
from c2sflow.data.qc.survey import Survey, survey
from c2sflow.data.readers import open_anndata
from c2sflow.data.splits.splits import COLUMN as SPLIT
from c2sflow.data.splits.splits import Rule
from c2sflow.data.state.normalization import LOG_BASE, State, normalise, row_factors
from c2sflow.data.views import View, apply_view, genome_shares

LOGGER = logging.getLogger(__name__)

HISTOGRAM_BINS = 40


def _annotate(
    data: CellData,
    found: Survey,
    sample: str,
    organism: str,
    extra: Mapping[str, str],
    split: Rule | None,
) -> tuple[pd.DataFrame, list[str]]:
    """obs of the kept cells, and warnings about columns that had to give way."""
    obs, notices = data.obs.copy(), []
    for name in ("sample", *extra):
        if name in obs and not (obs[name].astype(str) == {**extra, "sample": sample}[name]).all():
            kept = free_name(f"input_{name}", obs)
            notices.append(f"obs[{name!r}] of the input is kept as obs[{kept!r}]")
            obs[kept] = obs[name]
    names = cell_organisms(obs) if organism == PER_CELL else [organism] * len(obs)
    for name, column in found.metrics.items():
        obs[name] = column.to_numpy()
    for name, value in {**extra, "sample": sample}.items():
        obs[name] = pd.Categorical([value] * len(obs))
    obs[ORGANISM] = pd.Categorical(names)
    if "organism" not in obs:  # else it is the user's, in the user's words
        obs["organism"] = obs[ORGANISM]
    if split is not None:
        obs[SPLIT] = pd.Categorical(split.apply(obs))
    return obs[found.cells], notices


def _write(
    target: Path,
    data: CellData,
    found: Survey,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    state: State,
    chunk_size: int | None,
    rescale: bool = False,
    others: Mapping[str, tuple[np.ndarray, pd.Index]] | None = None,
) -> None:
    """Second pass: kept cells to `target`; `var` is of all genes.

    Of `others`, features that are no genes; the filtered genes as `c2sflow.data.qc.filtered_genes`
    reads them.
    """
    var, filtered_var = var[found.genes], var[~found.genes]
    with (
        write_beside(target) as partial,
        create_h5ad(partial, obs, var) as file,
        progress_bar(data.n_obs, "cell") as bar,
    ):
        write_element(file, "uns", {"log1p": {"base": LOG_BASE}})
        for name, array in data.obsm().items():
            _write_obsm(file, f"obsm/{name}", array, found.cells)
        with_counts = state.name == "counts"
        counts = ["layers/counts"] * with_counts
        matrix = RowWriter(file, "X", len(var), counts)
        beside = FilteredWriter(file, filtered_var)
        for start, block in data.chunks(chunk_size):
            kept, filtered = _kept(block, start, found)
            factors = row_factors(kept, state, rescale)
            matrix.append(normalise(kept, state, rescale, factors), *[kept] * with_counts)
            of_filtered = normalise(filtered, state, rescale, factors)
            beside.append({"X": of_filtered, **dict.fromkeys(counts, filtered)})
            bar.update(block.shape[0])
        write_features(file, data, found.cells, others or {}, chunk_size)
        for name in data.layers:
            if name == "counts" and with_counts:
                continue
            layer = RowWriter(file, f"layers/{name}", len(var))
            for start, block in data.chunks(chunk_size, name):
                kept, filtered = _kept(block, start, found)
                layer.append(kept)
                beside.append({f"layers/{name}": filtered})


def _write_obsm(file: h5py.File, key: str, array: Any, cells: np.ndarray) -> None:
    """The kept rows; of a dense array block by block."""
    is_table = isinstance(array, pd.DataFrame) or sparse.issparse(array)
    if is_table or array.dtype.kind not in NUMBERS:
        write_element(file, key, array[cells])
        return
    for start in range(0, len(cells), DENSE_ROWS):
        rows = slice(start, start + DENSE_ROWS)
        append_dense(file, key, np.asarray(array[rows])[cells[rows]])


def _kept(
    block: sparse.csr_matrix, start: int, found: Survey
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Kept cells, of the kept genes and of the filtered ones."""
    cells = found.cells[start : start + block.shape[0]]
    rows = block if cells.all() else block[cells]
    if found.genes.all():
        return rows, rows[:, :0]
    return rows[:, found.genes], rows[:, ~found.genes]


def _histograms(found: Survey) -> dict[str, dict[str, list[float]]]:
    """Distribution of each metric before and after the filters, over the same bins."""
    histograms = {}
    for name in ("n_genes_by_counts", "total_counts", "pct_counts_mt", TOP):
        if name not in found.metrics:
            continue
        # A cell without genes has no percentage.
        values = found.metrics[name].fillna(0).to_numpy(dtype=float)
        before, edges = np.histogram(values, bins=HISTOGRAM_BINS)
        after, _ = np.histogram(values[found.cells], bins=edges)
        histograms[name] = {
            "edges": edges.tolist(),
            "before": before.tolist(),
            "after": after.tolist(),
        }
    return histograms


def _summary(found: Survey, state: State) -> dict:
    """Figures of the sample for qc.json."""
    kept = found.metrics[found.cells]
    median = kept.median()
    return {
        "input_state": state.name,
        "log_base": state.log_base,
        "state_evidence": found.state.evidence,
        "n_cells_in": len(found.metrics),
        "n_cells_kept": int(found.cells.sum()),
        "dropped": found.dropped,
        "n_genes_in": found.genes.size,
        "n_genes_kept": int(found.genes.sum()),
        "dropped_genes": {"min_cells": int((~found.genes).sum())},
        "median_genes": float(median["n_genes_by_counts"]),
        "median_counts": float(median["total_counts"]) if "total_counts" in kept else None,
        "histograms": _histograms(found),
    }


def run_qc(
    source: str | Path | AnnData,
    target: str | Path,
    *,
    sample: str,
    organism: str,
    state: State,
    state_declared: bool = False,
    symbols_column: str | None = None,
    symbols_table: str | Path | None = None,
    extra: Mapping[str, str] | None = None,
    filters: Filters | None = None,
    split: Rule | None = None,
    chunk_size: int | None = None,
    kind: str = "cells",
    view: View | None = None,
) -> dict:
    """Quality control of one sample, from a file in any input format to an h5ad file.

    Parameters
    ----------
    source
        Input file, or AnnData.
    target
        h5ad to write: X log-normalised to base 10 (float32 CSR), ``layers["counts"]`` if the
        input is counts; the input's obs, obsm and layers of the kept cells; var_names symbols.
    sample
        Name of the sample.
    organism
        "human", "mouse", another name, or "obs" if obs holds it per cell.
    state
        Of the values of X; every cell is checked against it.
    state_declared
        Whether the user declared the state: then only what is impossible is refused.
    symbols_column
        Column of var with the gene symbols; None for the names of the genes.
    symbols_table
        File of `c2sflow.data.genes.symbol_tables.read_symbols`, if the column is to be made from
        it.
    extra
        More columns of obs, the same value for all cells.
    filters
        Thresholds; None for the defaults.
    split
        For training: how cells are split, recorded in ``obs["c2s_split"]``.
    chunk_size
        Rows read at once; None bounds memory.
    kind
        "cells", or "bulk": bulk samples have no thresholds but metrics of their own, and
        values that come normalised, such as TPM, are brought to 10,000 a sample.
    view
        Which matrix, features and genome, as `c2sflow.data.views.apply_view` decided; None: X, the
        features that are genes, and a reference of one genome.

    Returns
    -------
    Figures for ``qc.json``: what came in, what was kept, what was dropped and why.
    """
    filters, bulk = filters or Filters(), kind == "bulk"
    filters = filters.for_bulk() if bulk else filters
    with open_anndata(source) as data:
        viewed = apply_view(data, view or View(matrix="X"), data.label)
        if symbols_table is not None and symbols_column == symbol_tables.COLUMN:
            table = symbol_tables.read_symbols(symbols_table)
            data.var = symbol_tables.with_symbols(data.var, table, data.label)
        symbols, symbol_counts = gene_symbols(data.var, symbols_column, data.label)
        found = survey(
            data, symbols, state, filters, chunk_size, TOP_GENES if bulk else None,
            genome_shares(data, viewed, state), state_declared,
        )  # fmt: skip
        obs, notices = _annotate(data, found, sample, organism, extra or {}, split)
        var = data.var.set_axis(symbols, axis=0)
        if symbols_column is not None:
            var["input_id"] = data.var_names.to_numpy()
        if (repeated := repeated_symbols(symbols)).any():
            var[REPEATED] = repeated
        _write(Path(target), data, found, obs, var, state, chunk_size, bulk, viewed.others)
        notices += [*data.notes, *viewed.warnings, *found.state.warnings]
        notices += [*_warnings(data, symbols, symbol_counts, bulk), *dates_note(symbols)]
    for line in notices:
        LOGGER.warning("%s: %s", sample, line)
    figures = (
        _summary(found, state)
        | viewed.figures
        | ({"bulk_samples": bulk_table(obs)} if bulk else {})
    )
    if split is not None:
        figures["splits"] = obs[SPLIT].value_counts().sort_index().to_dict()
    return {"sample": sample, "organism": organism, **figures, "warnings": notices}


def _warnings(
    data: CellData, symbols: pd.Index, counts: Mapping[str, int], bulk: bool
) -> list[str]:
    notices = []
    if data.duplicate_names:
        notices.append(
            f"{data.duplicate_names} cells share their name with another cell; made unique"
        )
    if counts["duplicates"]:
        notices.append(
            f"{counts['duplicates']} genes share their symbol with another gene; made unique"
        )
    if counts["missing"]:
        notices.append(
            f"{counts['missing']} of {len(symbols)} genes without a symbol keep their id"
        )
    if "cleaned" in counts:
        notices.append(f"{counts['cleaned']} genes have an Ensembl id with the symbol; removed")
    if not bulk and not is_mitochondrial(symbols).any():
        notices.append("no mitochondrial genes found: --max_pct_mt drops no cells")
    return notices
