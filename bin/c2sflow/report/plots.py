"""The report's plots and tables, by MultiQC, in one manner."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from multiqc.plots import bargraph, heatmap, linegraph, table
from multiqc.plots.plot import Plot
from multiqc.types import Anchor, SampleName

PALETTE = (
    "#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#eeca3b", "#9d755d",
    "#ff9da6", "#2f4b7c", "#88d27a", "#d67195", "#83bcb6", "#79706e", "#9ecae9", "#ffbf79",
    "#b5a300", "#a05195", "#1b7837", "#a50f15", "#6baed6", "#bdbd22", "#8c564b", "#d6a5c9",
)  # fmt: skip
GREY = "#bab0ac"
N_BINS = 40
MAX_LEGEND = 40
MOST_NUMBERS = 25  # columns or rows of a heat map that shows its numbers
PADDING = "Share of the computed tokens that only fill up batches"


Chart: TypeAlias = Plot | str | None  # what MultiQC makes of data: a plot, or HTML


@dataclass
class Section:
    """A part of a chapter: its name, a description (HTML), and a plot or content (HTML)."""

    name: str
    description: str = ""
    plot: Chart = None
    content: str = ""


def safe(text: object) -> str:
    """Text as HTML and Plotly show it; whatever a user may call a sample, it is never markup."""
    return escape(str(text)).replace("&quot;", "&#34;").replace("\n", " ")


def plain(value: Any) -> Any:
    """A NumPy scalar as Python has it."""
    return value.item() if isinstance(value, np.generic) else value


def colors(n: int) -> list[str]:
    """A colour for each of n samples."""
    return [PALETTE[i % len(PALETTE)] for i in range(n)]


def common_bins(edges: Iterable[Sequence[float]], whole: bool = True) -> np.ndarray:
    """Edges of equal bins that span all of these; of whole numbers, each bin holds as many."""
    ends = [(e[0], e[-1]) for e in edges]
    low, high = min(a for a, _ in ends), max(b for _, b in ends)
    if not whole:
        return np.linspace(low, high, N_BINS + 1)
    step = math.ceil((high - low + 1) / N_BINS)
    return np.arange(math.floor(low) - 0.5, high + 0.5 + step, step)


def histogram_line(
    name: str,
    bins: np.ndarray,
    edges: Sequence[float] | np.ndarray,
    counts: Sequence[int] | np.ndarray,
    color: str,
    dash: str | None = None,
) -> linegraph.Series:
    """A histogram over common bins: samples' own bins differ in width, so heights would mislead."""
    cumulated = np.concatenate([[0], np.cumsum(counts)])
    heights = np.diff(np.interp(bins, edges, cumulated))
    middles = (bins[1:] + bins[:-1]) / 2
    pairs = [(round(x, 4), round(y, 2)) for x, y in zip(middles.tolist(), heights, strict=True)]
    return linegraph.Series(name=name, pairs=pairs, color=color, dash=dash)


def line_plot(anchor: str, title: str, axis: str, lines: list[linegraph.Series]) -> Chart:
    """Histograms as lines; cells upward."""
    config = linegraph.LinePlotConfig(
        id=anchor,
        title=title,
        xlab=axis,
        ylab="Cells",
        ymin=0,
        tt_label="%{x:.4~g}: %{y:,.0f} cells",
        series_label=False,
        showlegend=len(lines) <= MAX_LEGEND,
    )
    names = [SampleName(line.name) for line in lines]
    return linegraph.LinePlot.create([lines], config, Anchor(anchor), names)


def curve_plot(
    anchor: str,
    title: str,
    axes: tuple[str, str],
    curves: Mapping[str, Sequence[tuple[float, float]]],
    digits: int = 0,
) -> Chart:
    """A line through the points of each curve; `digits` of x behind the point."""
    config = linegraph.LinePlotConfig(
        id=anchor, title=title, xlab=axes[0], ylab=axes[1],
        tt_label=f"%{{x:,.{digits}f}}: %{{y:.3f}}",
        series_label=False, showlegend=True,
    )  # fmt: skip
    lines = [
        linegraph.Series(name=safe(name), pairs=[(x, round(y, 4)) for x, y in pairs], color=color)
        for (name, pairs), color in zip(curves.items(), colors(len(curves)), strict=True)
    ]
    names = [SampleName(line.name) for line in lines]
    return linegraph.LinePlot.create([lines], config, Anchor(anchor), names)


def bar_plot(
    anchor: str,
    title: str,
    axis: str,
    bars: Mapping[str, Mapping[str, float]],
    parts: Mapping[str, tuple[str, str]],
    percentages: bool = False,
) -> Chart:
    """Bars of `parts` (key to name and colour), as numbers or, to begin with, percentages."""
    config = {
        "id": anchor,
        "title": title,
        "ylab": axis,
        "tt_decimals": 0,
        "series_label": False,
        "cpswitch_c_active": not percentages,
    }
    categories = {key: {"name": name, "color": color} for key, (name, color) in parts.items()}
    return bargraph.plot({safe(k): dict(v) for k, v in bars.items()}, categories, config)


def heat_map(
    anchor: str,
    title: str,
    axes: tuple[str, str, str],
    values: pd.DataFrame,
    shares: bool = False,
) -> Chart:
    """Signed values, rows in their order: blue below 0, white at 0, red above; gaps are white.

    With `shares`, percentages: from white to blue, with their numbers where there is room.
    """
    most = 100.0 if shares else float(values.abs().max(axis=None))
    signed = {"min": -most, "colstops": [[0, PALETTE[0]], [0.5, "#ffffff"], [1, PALETTE[3]]]}
    upward = {"min": 0, "colstops": [[0, "#ffffff"], [1, "#2f5f9e"]]}
    config = {
        "id": anchor,
        "title": title,
        **dict(zip(("xlab", "ylab", "zlab"), axes, strict=True)),
        **(upward if shares else signed),
        "max": most,
        "square": False,
        "display_values": shares and max(values.shape) <= MOST_NUMBERS,
        "tt_decimals": 0 if shares else 2,
        "height": 160 + 24 * len(values),
        "cluster_rows": False,
        "cluster_cols": False,
        "series_label": False,
    }
    rows = [[_finite(round(value, 4)) for value in row] for row in values.to_numpy().tolist()]
    names = [safe(name) for name in values.columns], [safe(name) for name in values.index]
    return heatmap.plot(rows, *names, config)


def table_plot(
    anchor: str, title: str, first: str, rows: Mapping[str, Mapping], headers: Mapping[str, Mapping]
) -> Chart:
    """A row per name, a column per header; sortable."""
    data: dict[str, Any] = {
        safe(name): {key: _finite(values.get(key)) for key in headers}
        for name, values in rows.items()
    }
    config = {"id": anchor, "title": title, "col1_header": first, "sort_rows": False}
    columns: dict[str, Any] = {key: dict(header) for key, header in headers.items()}
    return table.plot(data, columns, config)


def number(
    title: str,
    description: str,
    suffix: str = "",
    decimals: int = 0,
    scale: str | bool = "Blues",
    top: float | None = None,
) -> dict:
    """Header of a column of numbers; bars start at 0 and end at `top`."""
    header = {"title": title, "description": description, "scale": scale}
    bounds = {"min": 0, **({} if top is None else {"max": top})} if scale else {}
    form = f"{{:,.{decimals}f}}"
    return header | bounds | {"format": form, **({"suffix": f" {suffix}"} if suffix else {})}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else plain(value)


def total(records: Iterable[Mapping], key: str) -> float:
    """Sum of a figure over samples or shards."""
    return sum(record[key] for record in records)


def ratio(part: float, whole: float) -> float:
    """Part of the whole; NaN, an empty cell, if there is none."""
    return part / whole if whole else math.nan


def median(values: pd.Series) -> float:
    """Median of the known values; NaN without any."""
    known = values.dropna()
    return float(known.median()) if len(known) else math.nan


def padding(shards: Sequence[Mapping]) -> float:
    """Share of the computed tokens that only fill up batches (%)."""
    idle = total(shards, "n_padding")
    return 100 * ratio(idle, idle + total(shards, "n_tokens"))
