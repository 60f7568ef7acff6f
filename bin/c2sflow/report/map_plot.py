"""An interactive map of cells in the page: its points once, and a switch of what colours them.

A plot of MultiQC holds all points again for each colouring. Here a colouring is a number for each
cell, so 10,000 cells, `MOST_COLUMNS` columns and `MOST_GENES` genes are 1.5 MB of the page at most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from c2sflow.report.colours import MOST_GROUPS, group_styles, is_number
from c2sflow.report.plots import GREY, safe

NO_NAMES: Mapping[str, str] = MappingProxyType({})
MOST_NAMES = 25  # groups with their names in the map


def map_plot(
    anchor: str,
    points: np.ndarray,
    colourings: Mapping[str, pd.DataFrame],
    names: Mapping[str, str] = NO_NAMES,
    rest: str = "unknown",
) -> str:
    """The map as HTML.

    Parameters
    ----------
    anchor
        Its id in the page.
    points
        float (n_cells, 2).
    colourings
        Title of a part of the switch (columns of obs, genes) to a column per colouring, a row per
        cell: categories or numbers. The first one is shown first.
    names
        What the switch calls columns, where that is another name.
    rest
        What cells without a group are called.
    """
    if not any(len(table.columns) for table in colourings.values()):
        colourings = {
            "Cells (obs)": pd.DataFrame({"all cells": pd.Categorical(["all cells"] * len(points))})
        }
    parts = {
        safe(part): [
            {"name": safe(names.get(column, column)), **_coloured(points, table[column], rest)}
            for column in table
        ]
        for part, table in colourings.items()
        if len(table.columns)
    }
    data = {"x": _rounded(points[:, 0], 3), "y": _rounded(points[:, 1], 3), "parts": parts}
    # In a script, "<" would begin markup.
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<div class="c2s-map" id="{anchor}"><label>Colour by <select></select></label>'
        '<div class="c2s-map-plot"></div>'
        f'<script type="application/json">{text}</script></div>{SCRIPT}'
    )


def _coloured(points: np.ndarray, values: pd.Series, rest: str) -> dict[str, Any]:
    if is_number(values):
        return {"values": _rounded(values.to_numpy(dtype=float), 4, significant=True)}
    values = values.cat.remove_unused_categories()
    largest = values.value_counts().index[:MOST_GROUPS]
    shown = [name for name in values.cat.categories if name in largest]
    codes = values.cat.set_categories(shown).cat.codes.to_numpy()
    n_others = int((values.notna().to_numpy() & (codes < 0)).sum())
    name = f"{values.cat.categories.size - len(shown)} others" if n_others else rest
    middles = [_middle(points[codes == code]) for code in range(len(shown))]
    return {
        "codes": codes.tolist(),
        "groups": [
            {"name": safe(name), "color": color, "symbol": symbol, "at": _rounded(middle, 3)}
            for (name, color, symbol), middle in zip(group_styles(shown), middles, strict=True)
        ],
        "rest": {"name": name, "color": GREY},
        "named": len(shown) <= MOST_NAMES,
    }


def _middle(points: np.ndarray) -> np.ndarray:
    """The point nearest to the median: of a group in two parts it is in one of them."""
    return points[np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin()]


def _rounded(values: np.ndarray, digits: int, significant: bool = False) -> list[float | None]:
    """Numbers short enough for a page; None where there is none."""
    form = f"{{:.{digits}g}}" if significant else f"{{:.{digits}f}}"
    return [float(form.format(v)) if np.isfinite(v) else None for v in values.tolist()]


# Draws every map once the page is there, and again where the colours of the page change.
SCRIPT = """<script>
(function () {
  if (window.c2sMaps) return;
  window.c2sMaps = true;
  function traces(data, own) {
    const narrow = window.innerWidth < 700, size = data.x.length < 3000 ? 6 : 4;
    const trace = (rows, more) => ({
      type: "scatter", mode: "markers", x: rows.map((i) => data.x[i]),
      y: rows.map((i) => data.y[i]), hoverinfo: "name", ...more,
    });
    const all = [...data.x.keys()];
    if (own.values) {
      const known = all.filter((i) => own.values[i] !== null);
      known.sort((i, j) => own.values[i] - own.values[j]);
      const unknown = all.filter((i) => own.values[i] === null);
      const bar = narrow ? { orientation: "h", y: -0.25, thickness: 12 } : { thickness: 14 };
      const found = [trace(known, {
        name: own.name, text: known.map((i) => own.values[i]), hoverinfo: "text",
        marker: { size, color: known.map((i) => own.values[i]), colorscale: "Viridis",
                  showscale: true, colorbar: bar },
      })];
      return unknown.length
        ? [trace(unknown, { name: "unknown", marker: { size, color: "#bab0ac" } }), ...found]
        : found;
    }
    const rows = own.groups.map(() => []), rest = [];
    own.codes.forEach((code, i) => (code < 0 ? rest : rows[code]).push(i));
    const found = own.groups.map((group, n) => trace(rows[n], {
      name: group.name, marker: { size, color: group.color, symbol: group.symbol, opacity: 0.85 },
    }));
    return rest.length
      ? [trace(rest, { name: own.rest.name, marker: { size, color: own.rest.color } }), ...found]
      : found;
  }
  function draw(map) {
    const narrow = window.innerWidth < 700, data = map.data, own = data.all[map.select.value];
    const ink = getComputedStyle(document.body).color;
    const axis = (title) => ({
      title: { text: title }, showticklabels: false, showgrid: false, zeroline: false,
    });
    const layout = {
      title: { text: own.name }, xaxis: axis("UMAP 1"), yaxis: axis("UMAP 2"),
      font: { color: ink }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      height: narrow ? 560 : 620, margin: { l: 30, r: 10, t: 45, b: 40 }, hovermode: "closest",
      showlegend: !own.values,
      legend: narrow ? { orientation: "h", y: -0.12 } : { itemsizing: "constant" },
      annotations: own.named ? own.groups.map((group) => ({
        x: group.at[0], y: group.at[1], text: group.name, showarrow: false,
        font: { size: narrow ? 9 : 11, color: "#111" }, bgcolor: "rgba(255,255,255,0.6)",
        borderpad: 1,
      })) : [],
    };
    Plotly.react(map.plot, traces(data, own), layout, {
      responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover",
    });
  }
  document.addEventListener("DOMContentLoaded", function () {
    const maps = [...document.querySelectorAll(".c2s-map")].map(function (place) {
      const data = JSON.parse(place.querySelector("script").textContent);
      const select = place.querySelector("select");
      data.all = [];
      for (const [part, members] of Object.entries(data.parts)) {
        const group = document.createElement("optgroup");
        group.label = new DOMParser().parseFromString(part, "text/html").body.textContent;
        for (const own of members) {
          const option = document.createElement("option");
          option.value = data.all.push(own) - 1;
          option.innerHTML = own.name;
          group.append(option);
        }
        select.append(group);
      }
      const map = { data, select, plot: place.querySelector(".c2s-map-plot") };
      select.addEventListener("change", () => draw(map));
      draw(map);
      return map;
    });
    new MutationObserver(() => maps.forEach(draw)).observe(document.documentElement, {
      attributes: true, attributeFilter: ["data-bs-theme"],
    });
  });
})();
</script>"""
