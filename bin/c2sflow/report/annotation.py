"""What the report says of the cell types that the model says."""

from __future__ import annotations

import numpy as np
import pandas as pd
from natsort import natsorted

from c2sflow.data.obs.figure_cells import UNKNOWN_TRAINING
from c2sflow.report.plots import (
    PALETTE,
    Section,
    heat_map,
    histogram_line,
    line_plot,
    number,
    safe,
    table_plot,
)
from c2sflow.report.run import Run

UNSURE = 0.5
MOST_TYPES = 60


def annotation(run: Run) -> list[Section]:
    """Cell types said, how sure the model is of them, and how they agree with the labels."""
    if run.types is None:
        return []
    said = run.types[run.types["said"].notna()]
    if said.empty:
        return [Section("", content="<p>No cell has a cell type.</p>")]
    judged = held_out(said)
    sections = [_types(run, said), _surety(judged)]
    if "label" in said and judged["label"].notna().any():
        sections.append(_confusion(judged[judged["label"].notna()], run))
    return sections


def held_out(types: pd.DataFrame) -> pd.DataFrame:
    """Without the cells that the model was trained on."""
    return types[~types["trained"]]


def agreement(types: pd.DataFrame | None) -> float | None:
    """Share of the labelled cells whose label the model says; None if there are no labels."""
    if types is None or "label" not in types:
        return None
    types = held_out(types)
    both = types[types["label"].notna() & types["said"].notna()]
    if both.empty or not set(both["label"]) & set(both["said"]):
        return None
    return float((both["label"] == both["said"]).mean())


def _types(run: Run, said: pd.DataFrame) -> Section:
    sizes, judged = said["said"].value_counts(), held_out(said)
    rows = {}
    for name in sizes.index[:MOST_TYPES]:
        chances = judged.loc[judged["said"] == name, "probability"]
        rows[name] = {
            "n_cells": int(sizes[name]),
            "share": 100 * sizes[name] / len(said),
            "median": float(chances.median()),
            "unsure": 100 * float((chances < UNSURE).mean()),
        }
    but = ", without those that the model was trained on" * run.training_known
    headers = {
        "n_cells": number("Cells", "Cells of which the model says this"),
        "share": number("Share", "Of all cells with a cell type", "%", 1, top=100),
        "median": number("Probability", f"Median over these cells{but}", "", 3, "Greens", top=1),
        "unsure": number("Unsure", f"Cells below {UNSURE:g}{but}", "%", 1, "Reds", top=100),
    }
    listed = [shard["coverage"] for shard in run.annotate if shard["coverage"] is not None]
    if listed:
        text = (
            "Chosen from <code>--cell_types</code>: the probability is among its "
            f"{run.annotate[0]['n_labels']} labels. "
            f"The model gives the whole list {np.mean(listed):.0%} of its probability; if that is "
            "little, it calls these cells otherwise."
        )
    else:
        text = "Said freely; the probability is that of the answer, word by word."
    if len(sizes) > MOST_TYPES:
        text += f" Shown: the {MOST_TYPES} largest of {len(sizes)}."
    name = "Cell types said"
    text += " Each cell's own lie in <code>obs['c2s_cell_type']</code>."
    return Section(name, text, plot=table_plot("types", name, "Cell type", rows, headers))


def _surety(said: pd.DataFrame) -> Section:
    counts, edges = np.histogram(said["probability"].dropna(), bins=40, range=(0, 1))
    name, axis = "How sure the model is", "Probability of the cell type said"
    lines = [histogram_line("all cells", edges, edges, counts, PALETTE[0])]
    if "label" in said and agreement(said) is not None:
        lines = []
        labelled = said[said["label"].notna()]
        right = labelled["label"] == labelled["said"]
        for title, chosen, color in (
            ("as the label", right, PALETTE[2]), ("not as the label", ~right, PALETTE[3]),
        ):  # fmt: skip
            counts, _ = np.histogram(labelled.loc[chosen, "probability"], bins=edges)
            lines.append(histogram_line(title, edges, edges, counts, color))
    text = (
        "Cells at the left may be mixed, between two types, or of a type that the model does not "
        "know. A model can also be sure and wrong: where there are labels, the two curves show how "
        "well its probability parts what agrees from what does not."
    )
    return Section(name, text, plot=line_plot("surety", name, axis, lines))


def _confusion(said: pd.DataFrame, run: Run) -> Section:
    counts = pd.crosstab(said["label"], said["said"])
    n_types = max(counts.shape)
    largest = [counts.sum(axis=axis).nlargest(MOST_TYPES).index for axis in (1, 0)]
    counts = counts.loc[natsorted(largest[0]), natsorted(largest[1])]
    # The same names in the same places: what agrees lies on the diagonal.
    shared = [name for name in counts.index if name in counts.columns]
    counts = counts.loc[
        [*shared, *counts.index.difference(shared, sort=False)],
        [*shared, *counts.columns.difference(shared, sort=False)],
    ]
    shares = 100 * counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    name = "Against the labels"
    text = (
        f"Of the cells with a label in <code>{safe(run.label_column)}</code> (rows), the "
        "percentage that the model calls so (columns). "
    )
    same = agreement(said)
    if same is None:
        text += "No name is in both: the labels are called otherwise than the types."
    else:
        per_label = (said["label"] == said["said"]).groupby(said["label"]).mean()
        text += (
            f"{same:.0%} of {len(said):,} cells agree; {per_label.mean():.0%} on average over the "
            f"{len(per_label)} labels. "
        )
        never = [name for name in natsorted(per_label.index) if name not in set(said["said"])]
        if never:
            text += f"Never said: {', '.join(map(safe, never))}. "
    text += (
        "Cells that the model was trained on are left out."
        if run.training_known
        else f"{UNKNOWN_TRAINING}."
    )
    if n_types > MOST_TYPES:
        text += f" Shown: the {MOST_TYPES} largest."
    plot = heat_map("confusion", name, ("Said", "Label", "%"), shares, shares=True)
    return Section(name, text, plot=plot)
