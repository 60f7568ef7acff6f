"""What the report says of generated cells."""

from __future__ import annotations

from c2sflow.report_inputs import Run
from c2sflow.report_plots import Section, number
from c2sflow.report_results import answer_table

MOST_TYPES = 200


def generation(run: Run) -> list[Section]:
    """Generated cells of each type: how many, and how far to trust them."""
    if run.generated is None:
        return []
    several = run.generated["organism"].nunique() > 1
    rows = {}
    for row in run.generated.head(MOST_TYPES).to_dict("records"):
        name = row["c2s_cell_type"] or "no type in particular"
        name = f"{name} · {row['organism']}" if several else name
        rows[name] = row
    counted = {
        "n_cells": number("Generated cells", "Cells of this type that the model made up"),
        "n_genes_mean": number("Genes / cell", "Mean number of valid genes", "", 1),
    }
    text = (
        "A row per cell type: sentences that the model made up, in <code>c2s_generated.h5ad</code>."
        " They are no measurements. With labels, the evaluation below compares them with real "
        "cells."
    )
    name = "Cells made up"
    return [answer_table("generated", name, text, "Cell type", rows, counted, run.generate)]
