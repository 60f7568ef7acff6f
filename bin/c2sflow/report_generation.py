"""What the report says of generated cells."""

from __future__ import annotations

from c2sflow.report_inputs import Run
from c2sflow.report_plots import Section, number, safe, table_plot, total

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
        rows[name] = {
            key: 100 * value if key.endswith("_fraction") else value for key, value in row.items()
        }
    bad = {"scale": "Reds", "top": 100}
    headers = {
        "n_cells": number("Generated cells", "Cells of this type that the model made up"),
        "n_genes_mean": number("Genes / cell", "Mean number of valid genes", "", 1),
        "invalid_fraction": number("Invalid", "Words that are no gene of the data", "%", 1, **bad),
        "duplicate_fraction": number("Repeated", "Genes said before", "%", 1, **bad),
        "truncated_fraction": number("Cut off", "Answers that max_new_tokens ended", "%", 1, **bad),
        "log_likelihood_mean": number(
            "Log-likelihood", "Mean of the answers: higher is surer", "", 1, scale=False
        ),
    }
    text = (
        "A row per cell type: sentences that the model made up, in <code>c2s_generated.h5ad</code>."
        " They are no measurements. With labels, the evaluation below compares them with real "
        "cells."
    )
    tokens, seconds = total(run.generate, "n_new_tokens"), total(run.generate, "seconds")
    if seconds:
        devices = ", ".join(sorted({safe(r["device"]) for r in run.generate}))
        text += f" {tokens:,} tokens were generated, {tokens / seconds:,.0f}/s ({devices})."
    title = "Cells made up"
    return [Section(title, text, plot=table_plot("generated", title, "Cell type", rows, headers))]
