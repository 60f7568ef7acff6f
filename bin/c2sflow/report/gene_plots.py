"""Plots with a point for each gene, the most important ones named in the plot."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from multiqc.plots import linegraph
from multiqc.types import Anchor, SampleName

from c2sflow.report.plots import Chart, safe

DARK, GREY = "#4d5157", "#b4b8be"
N_NAMED = 12


def gene_plot(
    anchor: str,
    title: str,
    axes: tuple[str, str],
    tabs: Mapping[str, pd.DataFrame],
    colors: Mapping[str, str],
) -> Chart:
    """A point for each gene, a tab for each condition.

    Parameters
    ----------
    tabs
        By condition: gene, x, y, kind (one of `colors`) and is_named, whether the gene's name is
        written beside its point.
    colors
        Colour of each kind, in the order in which they are drawn.
    """
    data = [_groups(table, axes, colors) for table in tabs.values()]
    config = linegraph.LinePlotConfig(
        id=anchor, title=title, xlab=axes[0], ylab=axes[1], height=560,
        data_labels=[{"name": safe(name)} for name in tabs], tt_label=" ", series_label=False,
        showlegend=True,
    )  # fmt: skip
    names = [SampleName(group.name) for group in data[0]]
    plot = linegraph.LinePlot.create(data, config, Anchor(anchor), names)
    for dataset, table in zip(plot.datasets, tabs.values(), strict=True):
        dataset.trace_params |= {"mode": "markers", "marker": {"size": 6, "opacity": 0.75}}
        dataset.layout["annotations"] = _names(table)
    return plot


def _names(table: pd.DataFrame) -> list[dict]:
    """Names beside their points, with a line to each; one that is near others stands above them."""
    spans = [max(float(np.ptp(table[axis])), 1e-9) for axis in "xy"]
    placed: list[tuple[float, float, int]] = []
    notes = []
    for row in table[table["is_named"]].sort_values("x").to_dict("records"):
        x, y = row["x"] / spans[0], row["y"] / spans[1]
        near = {level for a, b, level in placed if abs(a - x) < 0.12 and abs(b - y) < 0.04}
        level = next(n for n in range(len(near) + 1) if n not in near)
        placed.append((x, y, level))
        notes.append(
            {
                "x": round(row["x"], 4), "y": round(row["y"], 4), "text": safe(row["gene"]),
                "showarrow": True, "arrowhead": 0, "arrowwidth": 0.6, "ax": 10,
                "ay": -12 - 13 * level, "xanchor": "left", "font": {"size": 11},
            }
        )  # fmt: skip
    return notes


def _groups(
    table: pd.DataFrame, axes: tuple[str, str], colors: Mapping[str, str]
) -> list[linegraph.Series]:
    groups = []
    for kind, color in colors.items():
        own = table[table["kind"] == kind]
        if own.empty:
            continue
        shown = {
            "hovertext": [safe(gene) for gene in own["gene"]],
            "hovertemplate": f"%{{hovertext}}<br>{axes[0]}: %{{x:.2f}}<br>{axes[1]}: %{{y:.2f}}"
            "<extra></extra>",
        }
        pairs = own[["x", "y"]].round(4).to_numpy().tolist()
        groups.append(
            linegraph.Series(name=kind, pairs=pairs, color=color, extra_trace_params=shown)
        )
    return groups
