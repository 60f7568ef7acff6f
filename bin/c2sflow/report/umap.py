"""Sections with the maps: the cells of the run, and predicted ones among them."""

from __future__ import annotations

import math

from c2sflow.data.obs.figure_cells import UNKNOWN_TRAINING
from c2sflow.report.map import CellMap
from c2sflow.report.map_plot import map_plot
from c2sflow.report.plots import Section, safe
from c2sflow.report.predicted_map import KINDS, MOST
from c2sflow.report.run import Run

NAMES = {
    "c2s_cell_type": "predicted cell type (c2s_cell_type)",
    "c2s_cell_type_probability": "its probability (c2s_cell_type_probability)",
    "c2s_cell_type_spread": "its spread over the wordings (c2s_cell_type_spread)",
    "c2s_embedding_spread": "the embedding's spread over the wordings (c2s_embedding_spread)",
    "c2s_leiden": "Leiden clusters (c2s_leiden)",
}


def umap(run: Run) -> Section:
    """The cells of the run, coloured by their columns of obs and by genes."""
    cells, name = run.cells, "UMAP"
    if cells.coordinates is None:
        return Section(name, content=f"<p>There is no UMAP to draw: {cells.missing}</p>")
    shown = f"{len(cells.obs):,} of {cells.n_cells:,}"
    placed = (
        "where <code>obsm['X_c2s_umap']</code> has it (--store_umap), a UMAP of its embedding"
        if cells.stored
        else "placed by UMAP of its embedding"
    )
    text = (
        f"{'Only cells the model was not trained on are shown. ' * run.training_known}"
        f"Each point is a cell ({shown} shown), {placed} "
        "<code>obsm['X_c2s']</code>: cells that are similar to the model are close. A useful "
        "embedding separates labels and mixes samples, unless the samples differ in biology. A "
        "cluster that only stands out by few genes, low counts or high mitochondrial expression is "
        "probably low quality, not a cell type."
    )
    found = run.colourings
    if found.marked:
        marked = safe(NAMES.get(found.marked, found.marked))
        text += (
            f" The genes mark the groups of {marked} most clearly: the highest of each against "
            "all other cells (Welch's t, as scanpy's rank_genes_groups)."
        )
    colourings = {"Cells (obs)": found.columns, "Genes (log10 expression)": found.genes}
    text += _agreement(cells)
    if not run.training_known:
        text += f" {UNKNOWN_TRAINING}."
    plot = map_plot("c2s_umap", cells.coordinates, colourings, NAMES)
    return Section(name, text, content=plot)


def predicted_umap(run: Run) -> list[Section]:
    """Control, predicted and measured cells, if there are any predictions."""
    shown = run.predicted_map
    if shown is None:
        return []
    counts = shown.colours["kind"].value_counts().to_dict()
    counts["other"] = len(shown.colours) - sum(counts.values())
    kinds = ", ".join(f"{counts[kind]:,} {kind}" for kind in (*KINDS, "other") if counts[kind])
    answer, cell = shown.lengths
    text = (
        f"Cells: {kinds} (at most {MOST:,} of each kind), placed together by UMAP of "
        "their embeddings <code>obsm['X_c2s']</code>: another layout than that of the cells "
        f"alone. Predicted sentences have {answer:,.0f} genes (median), those of cells "
        f"{cell:,.0f}: the embedding also depends on the length of a sentence, so predicted cells "
        "may lie apart for that reason alone. Control cells are those that the predictions start "
        "from; measured cells are those of the same perturbation (--measured_column)."
    )
    colourings = {"Cells": shown.colours}
    plot = map_plot("c2s_predicted_umap", shown.coordinates, colourings, rest="other cells")
    return [Section("UMAP with predicted cells", text, content=plot)]


def _agreement(cells: CellMap) -> str:
    """What the neighbours share, in words."""
    shares = []
    for column in cells.obs:
        if cells.obs[column].nunique() > 1:
            found, chance = cells.agreement(column)
            if math.isnan(found):
                continue
            name = f"<code>{safe(column)}</code>"
            shares.append(f"{found:.0%} share its {name} ({chance:.0%} by chance)")
    if not shares:
        return ""
    return f" Of a cell's {cells.n_near} nearest neighbours, {', '.join(shares)}."
