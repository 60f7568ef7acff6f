"""The predicted cell types in the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from natsort import natsorted

from c2sflow.data.obs.figure_cells import UNKNOWN_TRAINING
from c2sflow.evaluation.figures import share_interval
from c2sflow.inputs.labels import CELL_TYPE
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
# By obs["c2s_cell_type_status"], why a cell has no type.
REASONS = {
    "no_genes": "have no genes",
    "empty": "got an empty answer",
    "length": "got an answer that did not end",
    "genes": "got an answer that lists genes",
    "low_probability": "are less probable than <code>--min_probability</code>",
}
MOST_TYPES = 60


def annotation(run: Run) -> list[Section]:
    """Predicted cell types, their probability, and how they agree with the labels."""
    if run.types is None:
        return []
    answered = run.types[run.types["predicted"].notna()]
    if answered.empty:
        content = f"<p>No cell has a cell type.{_without(run.annotate)}</p>"
        return [Section("", content=content)]
    judged = held_out(answered)
    sections = [_types(run, answered), _surety(judged)]
    if "label" in answered and judged["label"].notna().any():
        sections.append(_confusion(judged[judged["label"].notna()], run))
    return sections


def held_out(types: pd.DataFrame) -> pd.DataFrame:
    """Without the cells that the model was trained on."""
    return types[~types["trained"]]


@dataclass
class Agreement:
    """Of predicted cell types with labels.

    Parameters
    ----------
    share
        Share of the labelled cells whose label is predicted.
    low
        Lower limit of its 95 % interval (Wilson's).
    commonest
        The share if each cell were called the most common label.
    """

    share: float
    low: float
    commonest: float


def agreement(types: pd.DataFrame | None) -> Agreement | None:
    """How many predicted types are the label; None if there are no labels, or other names."""
    if types is None or "label" not in types:
        return None
    types = held_out(types)
    both = types[types["label"].notna() & types["predicted"].notna()]
    if both.empty or not set(both["label"]) & set(both["predicted"]):
        return None
    right = both["label"] == both["predicted"]
    return Agreement(
        share=float(right.mean()),
        low=share_interval(int(right.sum()), len(both))[0],
        commonest=float(both["label"].value_counts(normalize=True).iloc[0]),
    )


def share_of_list(records: list[dict], name: str = CELL_TYPE) -> float | None:
    """Mean probability that the model gives to the labels together; None without a list."""
    own = [(record["labels"][name], record["n_cells"]) for record in records]
    listed = [(label["coverage"], n) for label, n in own if label["coverage"] is not None]
    n_cells = sum(n for _, n in listed)
    return sum(coverage * n for coverage, n in listed) / n_cells if n_cells else None


def _types(run: Run, answered: pd.DataFrame) -> Section:
    sizes, judged = answered["predicted"].value_counts(), held_out(answered)
    rows = {}
    for name in sizes.index[:MOST_TYPES]:
        chances = judged.loc[judged["predicted"] == name, "probability"]
        rows[name] = {
            "n_cells": int(sizes[name]),
            "share": 100 * sizes[name] / len(answered),
            "median": float(chances.median()),
            "unsure": 100 * float((chances < UNSURE).mean()),
        }
    but = ", without those that the model was trained on" * run.training_known
    headers = {
        "n_cells": number("Cells", "Cells with this predicted type"),
        "share": number("Share", "Of all cells with a cell type", "%", 1, top=100),
        "median": number("Probability", f"Median over these cells{but}", "", 3, "Greens", top=1),
        "unsure": number("Unsure", f"Cells below {UNSURE:g}{but}", "%", 1, "Reds", top=100),
    }
    share = share_of_list(run.annotate)
    if share is not None:
        own = run.annotate[0]["labels"][CELL_TYPE]["labels_from"] == "model"
        source = "the labels that the model was trained on" if own else "<code>--cell_types</code>"
        text = (
            f"Chosen from {source}: the probability is relative to these "
            f"{run.annotate[0]['labels'][CELL_TYPE]['n_labels']} labels. Together they get "
            f"{share:.0%} of the model's probability; if that is little, the model "
            "prefers other answers for these cells, and the choice is not reliable: "
            "<code>--cell_types none</code> shows them."
        )
    else:
        text = "Free answers, without a list; the probability is that of the whole answer."
    if len(sizes) > MOST_TYPES:
        text += f" Shown: the {MOST_TYPES} largest of {len(sizes)}."
    name = "Predicted cell types"
    text += " The type of each cell is in <code>obs['c2s_cell_type']</code>."
    text += _without(run.annotate)
    return Section(name, text, plot=table_plot("types", name, "Cell type", rows, headers))


def _without(records: list[dict]) -> str:
    """How many cells have no type, why, and how to mend it; "" if all have one."""
    counts = Counter[str]()
    for record in records:
        counts.update(record["labels"][CELL_TYPE]["without"])
    if not counts:
        return ""
    reasons = ", ".join(f"{n:,} {REASONS[status]}" for status, n in counts.items())
    text = f" {counts.total():,} cells have no type (<code>obs['c2s_cell_type_status']</code>): "
    text += f"{reasons}."
    if set(counts) - {"no_genes", "low_probability"}:
        text += " Name the labels to choose from with <code>--cell_types</code>."
    return text


def _surety(answered: pd.DataFrame) -> Section:
    counts, edges = np.histogram(answered["probability"].dropna(), bins=40, range=(0, 1))
    name, axis = "Confidence of the predictions", "Probability of the predicted cell type"
    lines = [histogram_line("all cells", edges, edges, counts, PALETTE[0])]
    if "label" in answered and agreement(answered) is not None:
        lines = []
        labelled = answered[answered["label"].notna()]
        right = labelled["label"] == labelled["predicted"]
        for title, chosen, color in (
            ("agrees with the label", right, PALETTE[2]),
            ("differs from the label", ~right, PALETTE[3]),
        ):  # fmt: skip
            counts, _ = np.histogram(labelled.loc[chosen, "probability"], bins=edges)
            lines.append(histogram_line(title, edges, edges, counts, color))
    text = (
        "Cells on the left may be doublets, between two types, or of a type unknown to the model. "
        "A model can also be confident and wrong: if there are labels, the two curves show how "
        "well the probability separates the two."
    ) + _spread(answered)
    return Section(name, text, plot=line_plot("surety", name, axis, lines))


def _spread(answered: pd.DataFrame) -> str:
    """How far the wordings of the prompt are apart, where the run used them all."""
    if "spread" not in answered or not (known := answered["spread"].dropna()).size:
        return ""
    quarters = known.quantile([0.5, 0.9])
    return (
        " Of all wordings of the prompt the probability is the mean; its standard deviation over "
        f"them (<code>c2s_cell_type_spread</code>) is {quarters[0.5]:.2g} in half of the cells at "
        f"most, and above {quarters[0.9]:.2g} in a tenth: there the answer hangs on the wording."
    )


def _confusion(answered: pd.DataFrame, run: Run) -> Section:
    counts = pd.crosstab(answered["label"], answered["predicted"])
    n_types = max(counts.shape)
    largest = [counts.sum(axis=axis).nlargest(MOST_TYPES).index for axis in (1, 0)]
    counts = counts.loc[natsorted(largest[0]), natsorted(largest[1])]
    # The same names in the same order: agreement is on the diagonal.
    shared = [name for name in counts.index if name in counts.columns]
    counts = counts.loc[
        [*shared, *counts.index.difference(shared, sort=False)],
        [*shared, *counts.columns.difference(shared, sort=False)],
    ]
    shares = 100 * counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    name = "Confusion matrix"
    text = (
        f"Percentage of the cells with each label in <code>{safe(run.label_column)}</code> (rows) "
        "by predicted cell type (columns). "
    )
    same = agreement(answered)
    if same is None:
        text += "Labels and predicted types share no name: they use different vocabularies. "
    else:
        per_label = (answered["label"] == answered["predicted"]).groupby(answered["label"]).mean()
        text += (
            f"{same.share:.0%} of {len(answered):,} cells agree; {per_label.mean():.0%} on average "
            f"over the {len(per_label)} labels. "
        )
        never = [
            name for name in natsorted(per_label.index) if name not in set(answered["predicted"])
        ]
        if never:
            text += f"Never predicted: {', '.join(map(safe, never))}. "
    text += (
        "Cells the model was trained on are excluded."
        if run.training_known
        else f"{UNKNOWN_TRAINING}."
    )
    if n_types > MOST_TYPES:
        text += f" Shown: the {MOST_TYPES} largest."
    plot = heat_map("confusion", name, ("Predicted", "Label", "%"), shares, shares=True)
    return Section(name, text, plot=plot)
