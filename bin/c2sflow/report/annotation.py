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


@dataclass
class Shown:
    """A predicted label as the report shows it.

    Parameters
    ----------
    name
        Such as cell_type.
    table
        See `c2sflow.report.run.Run.types`.
    column
        Of obs, with the truth, if it is known.
    """

    name: str
    table: pd.DataFrame
    column: str | None

    @property
    def is_type(self) -> bool:
        """Whether it is the cell type."""
        return self.name == CELL_TYPE

    @property
    def words(self) -> str:
        """The name as a reader would write it."""
        return self.name.replace("_", " ")

    @property
    def option(self) -> str:
        """What names its candidates (HTML)."""
        return "<code>--cell_types</code>" if self.is_type else "<code>--labels</code>"

    def anchor(self, name: str) -> str:
        """Of a plot."""
        return name if self.is_type else f"{name}_{self.name}"

    def title(self, name: str) -> str:
        """Of a section: that of the cell type has no more words than it."""
        return name if self.is_type else f"{name}: {safe(self.words)}"


def shown_labels(run: Run) -> list[Shown]:
    """Every label that was asked for, the cell type first."""
    found = [] if run.types is None else [Shown(CELL_TYPE, run.types, run.label_column)]
    return found + [
        Shown(name, table, run.measured_labels.get(name)) for name, table in run.labels.items()
    ]


def annotation(run: Run) -> list[Section]:
    """Predicted labels, their probability, and how they agree with the truth."""
    return [section for shown in shown_labels(run) for section in _sections(run, shown)]


def _sections(run: Run, shown: Shown) -> list[Section]:
    answered = shown.table[shown.table["predicted"].notna()]
    if answered.empty:
        title = "" if shown.is_type else f"Predicted {safe(shown.words)}"
        without = _without(run.annotate, shown)
        return [Section(title, content=f"<p>No cell has a {safe(shown.words)}.{without}</p>")]
    judged = held_out(answered)
    sections = [_types(run, shown, answered), _surety(judged, shown)]
    if "label" in answered and judged["label"].notna().any():
        sections.append(_confusion(judged[judged["label"].notna()], run, shown))
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
    own = [(r["labels"][name], r["n_cells"]) for r in records if name in r["labels"]]
    listed = [(label["coverage"], n) for label, n in own if label["coverage"] is not None]
    n_cells = sum(n for _, n in listed)
    return sum(coverage * n for coverage, n in listed) / n_cells if n_cells else None


def _types(run: Run, shown: Shown, answered: pd.DataFrame) -> Section:
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
        "n_cells": number("Cells", "Cells with this predicted label"),
        "share": number("Share", f"Of all cells with a {safe(shown.words)}", "%", 1, top=100),
        "median": number("Probability", f"Median over these cells{but}", "", 3, "Greens", top=1),
        "unsure": number("Unsure", f"Cells below {UNSURE:g}{but}", "%", 1, "Reds", top=100),
    }
    share = share_of_list(run.annotate, shown.name)
    if share is not None:
        record = next(r["labels"][shown.name] for r in run.annotate if shown.name in r["labels"])
        own = record["labels_from"] == "model"
        source = "the labels that the model was trained on" if own else shown.option
        free = "<code>--cell_types none</code>" if shown.is_type else "<code>free: true</code>"
        text = (
            f"Chosen from {source}: the probability is relative to these "
            f"{record['n_labels']} labels. Together they get "
            f"{share:.0%} of the model's probability; if that is little, the model "
            "prefers other answers for these cells, and the choice is not reliable: "
            f"{free} shows them."
        )
    else:
        text = "Free answers, without a list; the probability is that of the whole answer."
    if len(sizes) > MOST_TYPES:
        text += f" Shown: the {MOST_TYPES} largest of {len(sizes)}."
    name, first = "Predicted cell types", "Cell type"
    if not shown.is_type:
        name, first = f"Predicted {safe(shown.words)}", safe(shown.words.capitalize())
    what = "type" if shown.is_type else "label"
    text += f" The {what} of each cell is in <code>obs['c2s_{shown.name}']</code>."
    text += _without(run.annotate, shown)
    plot = table_plot(shown.anchor("types"), name, first, rows, headers)
    return Section(name, text, plot=plot)


def _without(records: list[dict], shown: Shown) -> str:
    """How many cells have no label, why, and how to mend it; "" if all have one."""
    counts = Counter[str]()
    for record in records:
        if shown.name in record["labels"]:
            counts.update(record["labels"][shown.name]["without"])
    if not counts:
        return ""
    reasons = ", ".join(f"{n:,} {REASONS[status]}" for status, n in counts.items())
    what = "type" if shown.is_type else safe(shown.words)
    status = f"<code>obs['c2s_{shown.name}_status']</code>"
    text = f" {counts.total():,} cells have no {what} ({status}): "
    text += f"{reasons}."
    if set(counts) - {"no_genes", "low_probability"}:
        text += f" Name the labels to choose from with {shown.option}."
    return text


def _surety(answered: pd.DataFrame, shown: Shown) -> Section:
    counts, edges = np.histogram(answered["probability"].dropna(), bins=40, range=(0, 1))
    name = shown.title("Confidence of the predictions")
    axis = f"Probability of the predicted {safe(shown.words)}"
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
    return Section(name, text, plot=line_plot(shown.anchor("surety"), name, axis, lines))


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


def _confusion(answered: pd.DataFrame, run: Run, shown: Shown) -> Section:
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
    name = shown.title("Confusion matrix")
    text = (
        f"Percentage of the cells with each label in <code>{safe(shown.column)}</code> (rows) "
        f"by predicted {safe(shown.words)} (columns). "
    )
    same = agreement(answered)
    if same is None:
        text += "Labels and predictions share no name: they use different vocabularies. "
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
    plot = heat_map(
        shown.anchor("confusion"), name, ("Predicted", "Label", "%"), shares, shares=True
    )
    return Section(name, text, plot=plot)
