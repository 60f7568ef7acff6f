"""Cell types that classifiers read from the embedding, beside those read from expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from c2sflow.inputs.labels import CELL_TYPE
from c2sflow.report.metric_tables import PREDICTORS, SPACES, bars_of, interval
from c2sflow.report.plots import Section, heat_map, safe

MOST_LABELS = 30  # in the confusion matrix


def _named(row: Mapping) -> str:
    predictor, space = row["predictor"], row["space"]
    name = PREDICTORS.get(predictor, predictor)
    return f"{SPACES.get(space, space)}: {name}" if predictor in ("knn", "linear_probe") else name


def cell_types(table: pd.DataFrame, notes: Sequence[str], asked: str = CELL_TYPE) -> Section:
    """Accuracy of each classifier in each space, and whether the embedding beats expression.

    Parameters
    ----------
    asked
        Name of the label: the cell type, or another.
    """
    words, file = _words(asked)
    parts = {
        "accuracy": "Accuracy",
        "balanced_accuracy": "Balanced accuracy",
        "f1_macro": "Macro F1",
    }
    whole = table[(table["subject"] == "") & table["metric"].isin(parts)]
    bars = {
        _named(group.iloc[0]): dict(zip(group["metric"], group["value"], strict=True))
        for _, group in whole.groupby(["space", "predictor"], sort=False)
    }
    gains = table[table["metric"] == "accuracy_gain"]
    rows = "".join(
        "<tr><th>{}</th>{}<td>{:,}</td></tr>".format(
            safe(_named(group.iloc[0])),
            "".join(f"<td>{interval(row)}</td>" for row in group.to_dict("records")),
            group["n"].iloc[0],
        )
        for _, group in whole.groupby(["space", "predictor"], sort=False)
    )
    head = "".join(f"<th>{name}</th>" for name in parts.values())
    lines = "".join(f"<p>{safe(note)}</p>" for note in notes)
    text = (
        f"{words} predicted from the embedding by 5 nearest neighbours and by a linear probe "
        "(logistic regression), in 5-fold stratified cross-validation, repeated for few cells; "
        "the same from expression, which needs no model: from principal components, all genes and "
        "the most variable genes. These baselines also learn from the cells the model was trained "
        "on, if known. In brackets: 95 % intervals over cells and the choice of folds. Cells of "
        "one sample are on both sides of the folds: a new sample may score lower. By label: "
        f"<code>evaluation/{file}.tsv</code>.</p>{_gain(gains)}{lines}"
        "<table class='table c2s-facts'><tr><th>"
        f"</th>{head}<th>Cells</th></tr>{rows}</table><p>"
    )
    name, anchor = f"{words} from embeddings", _anchor("accuracy", asked)
    return Section(name, text, plot=bars_of(anchor, name, "Share", bars, list(parts.items())))


def _words(asked: str) -> tuple[str, str]:
    """What the report calls a label, and the file with its figures."""
    if asked == CELL_TYPE:
        return "Cell types", "accuracy"
    return safe(asked.replace("_", " ").capitalize()), "labels"


def _anchor(name: str, asked: str) -> str:
    return name if asked == CELL_TYPE else f"{name}_{asked}"


def _gain(gains: pd.DataFrame) -> str:
    """Whether the embedding beats expression, as a paragraph; "" without baselines."""
    if gains.empty:
        return ""
    beaten = gains["ci_low"] > 0
    listed = ", ".join(f"{_named(row)} {interval(row)}" for row in gains.to_dict("records"))
    verdict = (
        "The embedding beats every baseline"
        if beaten.all()
        else "These cells do not show that the embedding beats expression itself"
        if not beaten.any()
        else f"The embedding beats {beaten.sum()} of {len(beaten)} baselines only"
    )
    return (
        f"<p><strong>{verdict}</strong> (accuracy of its linear probe minus that of the baseline, "
        f"beaten where the whole 95 % interval is above 0): {listed}.</p>"
    )


def linear_probe_gains(table: pd.DataFrame | None) -> tuple[float, pd.DataFrame] | None:
    """Accuracy of the linear probe on X_c2s, and its gain over each baseline; None without."""
    if table is None:
        return None
    gains = table[table["metric"] == "accuracy_gain"].dropna(subset="value")
    own = table[
        (table["metric"] == "accuracy") & (table["subject"] == "") & (table["space"] == "X_c2s")
    ]
    own = own[own["predictor"] == "linear_probe"]
    return None if gains.empty or own.empty else (float(own["value"].iloc[0]), gains)


def confusion(table: pd.DataFrame, asked: str = CELL_TYPE) -> Section:
    """Of the linear probe on X_c2s."""
    shown = table[(table["predictor"] == "linear_probe") & (table["space"] == "X_c2s")]
    file = "confusion" if asked == CELL_TYPE else "labels_confusion"
    counts = shown.pivot_table(
        index="label", columns="found", values="n_cells", aggfunc="sum", fill_value=0
    ).astype(float)
    largest = counts.sum(axis=1).nlargest(MOST_LABELS).index
    rows = counts.loc[sorted(largest)]
    found = [*rows.index, *sorted(set(rows.columns[rows.sum() > 0]) - set(rows.index))]
    shares = rows.reindex(columns=found, fill_value=0.0)
    shares = shares.div(shares.sum(axis=1), axis=0)
    text = (
        "Linear probe on <code>X_c2s</code>: percentage of the cells of a type (row) predicted "
        "as each type (column). "
        f"Counts and other classifiers: <code>evaluation/{file}.tsv</code>."
    )
    if len(rows) < len(counts):
        text += f" Shown: the {len(rows)} largest of {len(counts)} types."
    name, kind = "Confusion of the linear probe", "Cell type"
    if asked != CELL_TYPE:
        kind = _words(asked)[0]
        name = f"{name}: {kind.lower()}"
    anchor = _anchor("probe_confusion", asked)
    plot = heat_map(anchor, name, ("Predicted", kind, "%"), 100 * shares, shares=True)
    return Section(name, text, plot=plot)
