"""Figures of an evaluation as the report shows them: with intervals, beside their baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from multiqc.plots import bargraph

from c2sflow.report.plots import PALETTE, Chart, safe, table_plot

MOST_ROWS = 200
PREDICTORS = {
    "model": "This run's model",
    "no_change": "No change",
    "perturbation_mean": "Mean of other perturbations",
    "training_mean": "Mean of training cells",
    "measured_half": "Measured halves (ceiling)",
    "another_cell": "Another measured cell",
    "all_types": "Random real cells",
    "another_control": "Another control cell",
    "gene_mean": "Mean of each gene",
    "annotation": "Predicted by the model",
    "knn": "nearest neighbours",
    "linear_probe": "linear probe",
    "majority": "Most common label",
}
# Of perturbations, in the order of the table: what it is, and which way is better.
METRICS = {
    "pearson_log2_fold_change": ("Pearson of changes by gene (scatter of Perturbations)", "↑"),
    "pearson_change": ("Pearson of changes, all genes", "↑"),
    "pearson_change_top_20": ("Pearson of changes, top 20 genes", "↑"),
    "mse": ("Squared error, all genes", "↓"),
    "mse_top_20": ("Squared error, top 20 genes", "↓"),
    "direction_top_20": ("Correct direction, top 20 genes", "↑"),
    "direction_significant": ("Correct direction, significant genes", "↑"),
    "energy_distance": ("Energy distance", "↓"),
    "scfid": ("scFID", "↓"),
    **{
        f"{name}_{depth}": (f"{text}, {depth.replace('_', ' ')}", "↑")
        for name, text in (("gene_overlap", "Gene overlap"), ("kendall_tau", "Kendall's τ"))
        for depth in ("top_20", "top_100", "full")
    },
}
YARDSTICKS = {"null": "This model, no effect", "chance": "By chance"}
DISTANCES = ("energy_distance", "scfid")  # mean nothing without their space
SPACES = {"expression_pcs": "expression", "sentence_pcs": "ranks", "cells": "single cells"}
SPACES |= {"genes": "all genes", "variable_genes": "variable genes"}


def interval(row: Mapping, decimals: int = 3) -> str:
    """A figure with its interval, as text."""
    value, low, high = row["value"], row["ci_low"], row["ci_high"]
    if math.isnan(value):
        return "not defined"
    if value and abs(value) < 10**-decimals:
        decimals += 2
    text = f"{value:.{decimals}f}"
    return text if math.isnan(low) else f"{text} ({low:.{decimals}f} to {high:.{decimals}f})"


def bars_of(
    anchor: str, title: str, axis: str, bars: Mapping[str, Mapping[str, float]],
    parts: Sequence[tuple[str, str]],
) -> Chart:  # fmt: skip
    """Bars side by side; parts are (key, name)."""
    config = {
        "id": anchor, "title": title, "ylab": axis, "stacking": "group", "cpswitch": False,
        "tt_decimals": 3, "series_label": False, "sort_samples": False,
    }  # fmt: skip
    shown = {
        safe(name): {key: value for key, value in values.items() if math.isfinite(value)}
        for name, values in bars.items()
    }
    categories = {
        key: {"name": safe(name), "color": PALETTE[place % len(PALETTE)]}
        for place, (key, name) in enumerate(parts)
    }
    return bargraph.plot(shown, categories, config)


def over_subjects(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The means over what was compared, or of the only one its own figures; and how many."""
    means = table[table["subject"] == ""]
    n_subjects = table.loc[table["subject"] != "", "subject"].nunique()
    return (table if means.empty else means), n_subjects


def predictors_of(table: pd.DataFrame) -> dict[str, str]:
    """Key and name of those that the table has."""
    found = set(table["predictor"])
    return {key: name for key, name in PREDICTORS.items() if key in found}


def metric_table(anchor: str, name: str, table: pd.DataFrame) -> Chart:
    """A row per metric, and space if that matters; a column per predictor."""
    table = table[table["metric"].isin(METRICS)]
    n_spaces = table.groupby("metric")["space"].nunique()
    spaced = {*n_spaces.index[n_spaces > 1], *DISTANCES}
    order = {metric: place for place, metric in enumerate(METRICS)}
    table = table.sort_values("metric", key=lambda keys: keys.map(order), kind="stable")
    rows: dict[str, dict] = {}
    for row in table.to_dict("records"):
        title, better = METRICS.get(row["metric"], (row["metric"], ""))
        place = f" in {SPACES.get(row['space'], row['space'])}" if row["metric"] in spaced else ""
        own = rows.setdefault(f"{title}{_depth(row)}{place} {better}", {})
        own[row["predictor"]] = interval(row)
        own |= _yardsticks(row)
    titles = predictors_of(table) | YARDSTICKS
    found = {key for own in rows.values() for key in own}
    headers = {k: {"title": title, "scale": False} for k, title in titles.items() if k in found}
    return table_plot(anchor, name, "Figure", rows, headers)


def _depth(row: Mapping) -> str:
    """Of how many genes a comparison of sentences is."""
    depth = row.get("depth", math.nan)
    return "" if math.isnan(depth) else f" ({depth:.0f} genes)"


def _yardsticks(row: Mapping) -> dict[str, str]:
    """The model's metric without an effect, and by chance."""
    shown = {}
    if row["predictor"] == "model" and not math.isnan(row.get("null", math.nan)):
        null = {"value": row["null"], "ci_low": row["null_low"], "ci_high": row["null_high"]}
        shown["null"] = interval(null)
    if not math.isnan(row.get("chance", math.nan)):
        shown["chance"] = f"{row['chance']:.3f}"
    return shown


def subject_table(
    anchor: str,
    name: str,
    first: str,
    table: pd.DataFrame,
    columns: Mapping[tuple[str, str], str],
    counted: str,
) -> Chart:
    """A row per subject, a column per (metric, predictor); and how many there were."""
    rows: dict[str, dict] = {}
    for row in table.to_dict("records"):
        own = rows.setdefault(row["subject"] or "all samples", {"n": int(row["n"])})
        own[f"{row['metric']}_{row['predictor']}"] = interval(row)
    headers = {"_".join(key): {"title": title, "scale": False} for key, title in columns.items()}
    headers["n"] = {"title": counted, "scale": False, "format": "{:,.0f}"}
    return table_plot(anchor, name, first, rows, headers)
