"""Plots with a point for each gene, the most important ones named in the plot."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from multiqc.plots import linegraph
from multiqc.types import Anchor, SampleName

from c2sflow.report.plots import Chart, safe

# Okabe and Ito's, which readers with any colour vision tell apart.
BLUE, VERMILLION, GREY = "#0072b2", "#d55e00", "#a0a4aa"
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
        dataset.layout["annotations"] = [
            {
                "x": round(row["x"], 4), "y": round(row["y"], 4), "text": safe(row["gene"]),
                "showarrow": False, "xanchor": "left", "xshift": 5, "yshift": 6,
                "font": {"size": 11},
            }
            for row in table[table["is_named"]].to_dict("records")
        ]  # fmt: skip
    return plot


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
