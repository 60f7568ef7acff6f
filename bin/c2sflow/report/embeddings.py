"""How well embeddings keep types together and mix batches, in the report."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from c2sflow.report.metric_tables import SPACES, interval
from c2sflow.report.plots import Section, safe, table_plot

NAMES = {
    "nmi": "NMI",
    "ari": "ARI",
    "silhouette": "Silhouette of types",
    "graph_connectivity": "Graph connectivity",
    "clisi": "cLISI",
    "ilisi": "iLISI",
    "bras": "Batch silhouette (BRAS)",
    "transfer_accuracy": "Labels across batches",
}
OWN_SPACES = {"variable_gene_pcs": "variable genes, components", "random": "random vectors"}

MIXING = (
    "Batches: iLISI (0: the neighbours of a cell are of its own batch; 1: of all alike), BRAS (1: "
    "the cells of a type do not lie by batch), and the share of cells whose type their nearest "
    "cells of other batches have. An embedding that knows nothing mixes batches best: read these "
    "together with the metrics of types."
)
NO_BATCHES = "For the mixing of batches: <code>--batch_column</code>."


def embeddings(table: pd.DataFrame, notes: Sequence[str]) -> Section:
    """A row for each embedding, a column for each metric."""
    rows: dict[str, dict] = {}
    for row in table.to_dict("records"):
        space = row["space"]
        name = OWN_SPACES.get(space, SPACES.get(space, space))
        own = rows.setdefault(safe(name), {})
        own[row["metric"]] = interval(row)
        own["n"] = max(int(row["n"]), own.get("n", 0))
    found = set(table["metric"])
    headers = {
        key: {"title": title, "scale": False} for key, title in NAMES.items() if key in found
    }
    headers["n"] = {"title": "Cells", "scale": False, "format": "{:,.0f}"}
    lines = "".join(f"<p>{safe(note)}</p>" for note in notes)
    text = (
        "Whether cells of one type lie together, as scIB measures it: k-means with as many "
        "clusters as types (NMI, ARI: 0 by chance, 1 for the types themselves), silhouette (0.5: "
        "types lie on top of each other), graph connectivity, and cLISI (1: all neighbours are of "
        "one type). Higher is better. Next to <code>X_c2s</code>: principal components of "
        "expression, of all and of the most variable genes, and random vectors. "
        f"{MIXING if 'ilisi' in found else NO_BATCHES} In brackets: 95 % intervals (jackknife over "
        f"tenths of the cells). All figures: <code>evaluation/embedding.tsv</code>.{lines}"
    )
    name = "Embeddings: types and batches"
    return Section(
        name, text, plot=table_plot("embedding_metrics", name, "Embedding", rows, headers)
    )
