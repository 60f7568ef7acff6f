"""Predicted against measured change of each gene, in the report: what a reader looks for first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.report.colours import BLUE, VERMILLION
from c2sflow.report.gene_plots import DARK, GREY, N_NAMED, gene_plot
from c2sflow.report.gene_tables import MEASURED, MOST_CONDITIONS, PREDICTED
from c2sflow.report.model_results import perturbations as predicted_cells
from c2sflow.report.plots import Section, safe
from c2sflow.report.run import Run
from c2sflow.report.volcano import volcano

METRIC = "pearson_log2_fold_change"
RIGHT, WRONG = "Same direction", "Opposite direction"
MISSED, OTHER = "Not predicted to change", "Measured change not clear of 0"


@dataclass(frozen=True)
class Agreement:
    """Correlation of predicted and measured changes over the conditions.

    Attributes
    ----------
    value
        Of the only condition, or the mean.
    n, n_beyond, n_within
        Conditions; those whose interval is above the range of their null, and those whose value is
        within or below it.
    null, another
        The same without an effect, and of another control cell in place of the answer: means.
    """

    value: float
    n: int
    n_beyond: int
    n_within: int
    null: float
    another: float


def of_conditions(table: pd.DataFrame | None, predictor: str = "model") -> pd.DataFrame:
    """The correlation of each condition, of the tables of EVALUATE; empty without."""
    if table is None:
        return pd.DataFrame(columns=["subject", "value"])
    own = table[(table["metric"] == METRIC) & (table["subject"] != "")]
    return own[own["predictor"] == predictor].dropna(subset="value")


def agreement(table: pd.DataFrame | None) -> Agreement | None:
    """What the tile shows; None where no condition has a correlation."""
    own = of_conditions(table)
    if own.empty:
        return None
    others = of_conditions(table, "another_control")
    return Agreement(
        value=float(own["value"].mean()),
        n=len(own),
        n_beyond=int((own["ci_low"] > own["null_high"]).sum()),
        n_within=int((own["value"] <= own["null_high"]).sum()),
        null=float(own["null"].mean()),
        another=float(others["value"].mean()),
    )


def perturbations(run: Run) -> list[Section]:
    """The changes of the genes first; then the predicted cells, and how far to trust them."""
    return [*(measured_changes(run) or volcano(run)), *predicted_cells(run)]


def measured_changes(run: Run) -> list[Section]:
    """The scatter of both changes, with the correlation and what it is without an effect."""
    if run.changes is None or run.changes.empty:
        return []
    tabs = {name: _points(own) for name, own in run.changes.groupby("condition", sort=False)}
    name = "Predicted against measured changes"
    axes = ("Measured log2 fold change", "Predicted log2 fold change")
    colors = {OTHER: GREY, MISSED: DARK, RIGHT: BLUE, WRONG: VERMILLION}
    plot = gene_plot("measured_genes", name, axes, tabs, colors)
    text = _description(run.changes, run.evaluation.get("perturbation"))
    return [Section(name, text, plot=plot)]


def _points(own: pd.DataFrame) -> pd.DataFrame:
    """What the plot takes of one condition; the genes with the largest measured change named."""
    own = own.dropna(subset=[MEASURED, PREDICTED])
    clear = (own["measured_ci_low"] > 0) | (own["measured_ci_high"] < 0)
    agreed = np.sign(own[MEASURED]) * np.sign(own[PREDICTED])
    kind = np.select([~clear, agreed > 0, agreed < 0], [OTHER, RIGHT, WRONG], MISSED)
    ranked = own[MEASURED].abs().where(clear, 0.0).sort_values(ascending=False, kind="stable")
    table = pd.DataFrame(
        {"gene": own["gene"], "x": own[MEASURED], "y": own[PREDICTED], "kind": kind}
    )
    return table.assign(is_named=table.index.isin(ranked.index[:N_NAMED]))


def _description(changes: pd.DataFrame, table: pd.DataFrame | None) -> str:
    compared_with = " and ".join(safe(name) for name in changes["compared_with"].unique())
    unit = changes["unit"].iloc[0]
    over = "cells, not donors" if unit == "cells" else safe(unit)
    rows = "".join(_row(row) for row in _figures(table))
    head = (
        "<tr><th></th><th>Correlation</th><th>Without an effect</th><th>Another control cell</th>"
        "<th>Cells</th></tr>"
    )
    n, shown = len(of_conditions(table)), changes["condition"].nunique()
    return (
        "Change of each gene: measured cells against control cells (horizontal), and predicted "
        f"cells against {compared_with} (vertical), both as log2 fold change. A good prediction "
        "lies on the diagonal; a gene at 0 is not predicted to change, or not reached by the "
        f"answers. The {N_NAMED} genes with the largest measured change are named; grey: the 95 % "
        f"interval of the measured change (over {over}) holds 0. No control cell is in both "
        f"changes. All genes: <code>evaluation/genes.tsv</code>.</p>"
        f"<table class='table c2s-facts'>{head}{rows}</table><p>"
        "Pearson correlation over all genes, with its 95 % interval over cells. Without an effect: "
        "measured and control cells swap their labels (mean, and the range of 95 %). Another "
        "control cell: a real cell in place of the answer."
        + (f" Shown: {shown} of {n} perturbations." if n > shown else "")
    )


def _figures(table: pd.DataFrame | None) -> Iterator[dict]:
    """Figures of the first conditions, with those of another control cell."""
    others = of_conditions(table, "another_control").set_index("subject")["value"]
    for row in of_conditions(table).head(MOST_CONDITIONS).to_dict("records"):
        yield row | {"another": others.get(row["subject"], math.nan)}


def _row(row: Mapping) -> str:
    another = "—" if math.isnan(row["another"]) else f"{row['another']:.2f}"
    cells = f"{row['n']:,} predicted, {row['n_reference']:,} measured"
    cells_of = [
        _with_ends(row["value"], row["ci_low"], row["ci_high"]),
        _with_ends(row["null"], row["null_low"], row["null_high"]),
        another,
        cells,
    ]
    return f"<tr><th>{safe(row['subject'])}</th>{''.join(f'<td>{c}</td>' for c in cells_of)}</tr>"


def _with_ends(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "—"
    return f"{value:.2f}" + ("" if math.isnan(low) else f" ({low:.2f} to {high:.2f})")
