"""Predicted perturbations in the report, by what is new about the held-out cells."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from c2sflow.report.metric_tables import METRICS, interval, over_subjects, predictors_of
from c2sflow.report.plots import Section, safe, table_plot

SHOWN = (
    ("pearson_change", "expression"), ("pearson_change_top_20", "expression"),
    ("mse", "expression"), ("direction_significant", "expression"),
    ("gene_overlap_top_100", "pseudobulk"),
)  # fmt: skip


def held_out(table: pd.DataFrame, notes: Sequence[str]) -> Section:
    """A row for each kind and metric, a column for each predictor."""
    rows = kind_rows(table)
    found = {key for own in rows.values() for key in own}
    headers = {
        key: {"title": title, "scale": False}
        for key, title in predictors_of(table).items()
        if key in found
    }
    lines = "".join(f"<li>{safe(note)}</li>" for note in notes)
    text = (
        "What is new about the held-out cells decides how hard a prediction is: only the cells, "
        "the pair of perturbation and context (each was trained on, but not together), the "
        "perturbation, the context, or both. Means over perturbations, with 95 % intervals (in "
        "brackets). All: <code>evaluation/held_out.tsv</code>."
    )
    name = "Held-out cells by what is new"
    plot = table_plot("held_out", name, "Kind and metric", rows, headers)
    return Section(name, text, content=f"<ul>{lines}</ul>" if lines else "", plot=plot)


def kind_rows(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Kind and metric to predictor to its figure."""
    rows: dict[str, dict[str, str]] = {}
    for kind, own in table.groupby("kind", sort=False):
        means, _ = over_subjects(own)
        for metric, space in SHOWN:
            title, better = METRICS[metric]
            name = f"{safe(str(kind)).capitalize()}: {title} {better}"
            for row in means[(means["metric"] == metric) & (means["space"] == space)].to_dict(
                "records"
            ):
                rows.setdefault(name, {}).setdefault(row["predictor"], interval(row))
    return rows
