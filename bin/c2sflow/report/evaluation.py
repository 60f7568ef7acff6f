"""The evaluation in the report: metrics with intervals, next to their baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from multiqc.plots import bargraph

from c2sflow.report.plots import PALETTE, Chart, Section, heat_map, number, safe, table_plot
from c2sflow.report.ranks import at_depth
from c2sflow.report.run import Run

MOST_LABELS = 30  # in the confusion matrix
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
NULL = (
    "No effect: the model's metric after measured and control cells swap their labels at random; "
    "values in this range (in brackets) also occur for a perturbation without effect. "
    "By chance: sentences of random genes."
)
DISTANCES = ("energy_distance", "scfid")  # mean nothing without their space
SPACES = {"expression_pcs": "expression", "sentence_pcs": "ranks", "cells": "single cells"}
SPACES |= {"genes": "all genes", "variable_genes": "variable genes"}


def evaluation(run: Run) -> list[Section]:
    """Cell types, perturbations, answers and reconstruction, as far as there are figures."""
    sections = _left_out("Evaluated cells", run.evaluation_notes.get("cells"))
    if "accuracy" in run.evaluation:
        sections.append(_cell_types(run.evaluation["accuracy"], run.evaluation_notes))
        sections.append(_confusion(run.evaluation["confusion"]))
    if "perturbation" in run.evaluation:
        sections += _perturbations(run.evaluation["perturbation"])
    sections += _left_out("Notes on the comparison", run.evaluation_notes.get("perturbation"))
    if "generation" in run.evaluation:
        sections.append(_generated(run.evaluation["generation"]))
    sections += _left_out("Generated, not compared", run.evaluation_notes.get("generation"))
    if "text_scores" in run.evaluation:
        sections.append(_text_scores(run.evaluation["text_scores"]))
    if "trust" in run.evaluation:
        sections.append(_trust(run.evaluation["trust"]))
    if "reconstruction" in run.evaluation:
        sections.append(_reconstruction(run.evaluation["reconstruction"]))
    return sections


def _left_out(name: str, notes: Sequence[str] | None) -> list[Section]:
    """What is not compared, and why."""
    lines = "".join(f"<li>{safe(note)}</li>" for note in notes or ())
    return [Section(name, content=f"<ul>{lines}</ul>")] if lines else []


def _interval(row: Mapping, decimals: int = 3) -> str:
    """A figure with its interval, as text."""
    value, low, high = row["value"], row["ci_low"], row["ci_high"]
    if math.isnan(value):
        return "not defined"
    if value and abs(value) < 10**-decimals:
        decimals += 2
    text = f"{value:.{decimals}f}"
    return text if math.isnan(low) else f"{text} ({low:.{decimals}f} to {high:.{decimals}f})"


def _named(row: Mapping) -> str:
    predictor, space = row["predictor"], row["space"]
    name = PREDICTORS.get(predictor, predictor)
    return f"{SPACES.get(space, space)}: {name}" if predictor in ("knn", "linear_probe") else name


def _bars(
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


def _cell_types(table: pd.DataFrame, notes: Mapping[str, list[str]]) -> Section:
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
            "".join(f"<td>{_interval(row)}</td>" for row in group.to_dict("records")),
            group["n"].iloc[0],
        )
        for _, group in whole.groupby(["space", "predictor"], sort=False)
    )
    head = "".join(f"<th>{name}</th>" for name in parts.values())
    lines = "".join(f"<p>{safe(note)}</p>" for note in notes.get("accuracy", []))
    text = (
        "Cell types predicted from the embedding by 5 nearest neighbours and by a linear probe "
        "(logistic regression), in 5-fold stratified cross-validation, repeated for few cells; "
        "the same from expression, which needs no model: from principal components, all genes and "
        "the most variable genes. These baselines also learn from the cells the model was trained "
        "on, if known. In brackets: 95 % intervals over cells and the choice of folds. Cells of "
        "one sample are on both sides of the folds: a new sample may score lower. By type: "
        f"<code>evaluation/accuracy.tsv</code>.</p>{_gain(gains)}{lines}"
        "<table class='table c2s-facts'><tr><th>"
        f"</th>{head}<th>Cells</th></tr>{rows}</table><p>"
    )
    name = "Cell types from embeddings"
    return Section(name, text, plot=_bars("accuracy", name, "Share", bars, list(parts.items())))


def _gain(gains: pd.DataFrame) -> str:
    """Whether the embedding beats expression, as a paragraph; "" without baselines."""
    if gains.empty:
        return ""
    beaten = gains["ci_low"] > 0
    listed = ", ".join(f"{_named(row)} {_interval(row)}" for row in gains.to_dict("records"))
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


def better_than_no_change(table: pd.DataFrame | None) -> tuple[int, int]:
    """In how many figures the predictions are better than no change, and in how many not.

    Left out is what cannot be otherwise: the directions, of which no change has none right, and
    the distances in X_c2s, where an answer is far from a cell because its sentence is shorter.
    """
    if table is None:
        return 0, 0
    shown, _ = _over_subjects(table)
    shown = shown[shown["metric"].isin(METRICS)].set_index(["metric", "space", "subject"])
    model, unchanged = (
        shown.loc[shown["predictor"] == name, "value"] for name in ("model", "no_change")
    )
    better = worse = 0
    for (metric, space, subject), value in model.items():
        null = unchanged.get((metric, space, subject), math.nan)
        if metric.startswith("direction") or space == "X_c2s" or math.isnan(value - null):
            continue
        gain = value - null if METRICS[metric][1] == "↑" else null - value
        better, worse = better + (gain > 0), worse + (gain <= 0)
    return better, worse


def _confusion(table: pd.DataFrame) -> Section:
    """Of the linear probe on X_c2s."""
    shown = table[(table["predictor"] == "linear_probe") & (table["space"] == "X_c2s")]
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
        "Counts and other classifiers: <code>evaluation/confusion.tsv</code>."
    )
    if len(rows) < len(counts):
        text += f" Shown: the {len(rows)} largest of {len(counts)} types."
    name = "Confusion of the linear probe"
    plot = heat_map(
        "probe_confusion", name, ("Predicted", "Cell type", "%"), 100 * shares, shares=True
    )
    return Section(name, text, plot=plot)


def _perturbations(table: pd.DataFrame) -> list[Section]:
    shown, n_subjects = _over_subjects(table)
    what = (
        f"Means over {n_subjects} perturbations"
        if shown is not table
        else "Of " + ", ".join(safe(name) for name in table["subject"].unique())
    )
    text = (
        f"{what}: predicted cells against the cells measured under the same perturbation, next to "
        "the baselines that a predictor must beat. The measured halves are not a prediction: they "
        "compare as many measured cells as there are answers with other measured cells, a "
        "practical ceiling. Truth and prediction share no cell: means over 20 splits of the cells "
        "into halves. In brackets: 95 % intervals, by a bootstrap over the cells of a "
        "perturbation (with at least 6), and by Student's t over perturbations for means (with at "
        "least 3). ↑ higher, ↓ lower is better. "
        f"{NULL} Definitions: docs/output.md; all figures: "
        "<code>evaluation/perturbation.tsv</code>."
    )
    name = "Against measured cells"
    sections = [Section(name, text, plot=_metric_table("measured", name, shown))]
    single = table[(table["subject"] != "") & table["metric"].isin(METRICS)]
    metric = "pearson_change_top_20"
    chosen = single[single["metric"] == metric]
    if not chosen.empty:
        bars = {
            f"{subject} ({group['n'].iloc[0]:,} predicted, {group['n_reference'].iloc[0]:,} "
            "measured cells)": dict(zip(group["predictor"], group["value"], strict=True))
            for subject, group in list(chosen.groupby("subject"))[:MOST_ROWS]
        }
        parts = list(_predictors(shown).items())
        title = "Changes of the top 20 genes"
        text = (
            "Pearson correlation of predicted and measured change over the 20 genes that change "
            "most in one half of the cells, evaluated on the other half. It is undefined for the "
            "no-change baseline."
        )
        plot = _bars("top_genes", title, "Pearson correlation", bars, parts)
        sections.append(Section(title, text, plot=plot))
    return sections


def _over_subjects(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The means over what was compared, or of the only one its own figures; and how many."""
    means = table[table["subject"] == ""]
    n_subjects = table.loc[table["subject"] != "", "subject"].nunique()
    return (table if means.empty else means), n_subjects


def _predictors(table: pd.DataFrame) -> dict[str, str]:
    """Key and name of those that the table has."""
    found = set(table["predictor"])
    return {key: name for key, name in PREDICTORS.items() if key in found}


def _metric_table(anchor: str, name: str, table: pd.DataFrame) -> Chart:
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
        own[row["predictor"]] = _interval(row)
        own |= _yardsticks(row)
    titles = _predictors(table) | YARDSTICKS
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
        shown["null"] = _interval(null)
    if not math.isnan(row.get("chance", math.nan)):
        shown["chance"] = f"{row['chance']:.3f}"
    return shown


def _subject_table(
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
        own[f"{row['metric']}_{row['predictor']}"] = _interval(row)
    headers = {"_".join(key): {"title": title, "scale": False} for key, title in columns.items()}
    headers["n"] = {"title": counted, "scale": False, "format": "{:,.0f}"}
    return table_plot(anchor, name, first, rows, headers)


def _generated(table: pd.DataFrame) -> Section:
    """Means over the cell types, or of the only group."""
    shown, n_types = _over_subjects(table)
    text = (
        f"Generated cells against real cells{f' of {n_types} types' if n_types else ''}, at one "
        "depth and in equal numbers, next to a generator that ignores the type (random real cells) "
        "and other real cells of the type. In brackets: 95 % intervals, by a bootstrap over the "
        "cells of a type (with at least 6), and by Student's t over types for means (with at "
        "least 3). ↑ higher, ↓ lower is better. By chance: sentences of random genes. In "
        "<code>X_c2s</code> real sentences are not cut, which alone may separate them. By type: "
        "<code>evaluation/generation.tsv</code>."
    )
    name = "Generated against real cells"
    return Section(name, text, plot=_metric_table("generated_real", name, shown))


def _text_scores(table: pd.DataFrame) -> Section:
    rows = {}
    for row in table.head(MOST_ROWS).to_dict("records"):
        figure = {"value": row["f1"], "ci_low": row["f1_ci_low"], "ci_high": row["f1_ci_high"]}
        rows[f"{row['task']} · {row['group']} · {row['generated']}"] = {
            "f1": _interval(figure), "precision": row["precision"], "recall": row["recall"],
            "n": int(row["n"]),
        }  # fmt: skip
    headers = {
        "f1": {"title": "F1", "scale": False},
        "precision": number(
            "Precision", "Predicted tokens found in the reference", "", 3, scale=False
        ),
        "recall": number(
            "Recall", "Tokens of the reference that were predicted", "", 3, scale=False
        ),
        "n": number("Cells", "Cells compared", scale=False),
    }
    text = (
        "BERTScore by <code>--text_encoder</code>: similarity of predicted text (<em>said</em>) "
        "and reference for a language model. Unrelated texts score high, too: compare with the "
        "baseline (<em>commonest label</em>; <em>control</em>: no change), and sentences with "
        "<em>another measured cell</em>. In brackets: 95 % intervals over cells "
        "(Student's t; none for fewer than 3, or where all scores are equal). All: "
        "<code>evaluation/text_scores.tsv</code>."
    )
    name = "Text scores"
    return Section(name, text, plot=table_plot("text_scores", name, "Compared", rows, headers))


def _trust(table: pd.DataFrame) -> Section:
    columns = {
        ("novelty", "model"): "Novelty",
        ("invalid_fraction", "model"): "Invalid words",
        ("repeated_fraction", "model"): "Repeated words",
        ("cut_fraction", "model"): "Cut answers",
        ("novelty", "another_control"): "Novelty of another control cell",
    }
    text = (
        "Novelty: share of an answer's genes that are not in the control cell's sentence, cut to "
        "the same length; 0 is a copy. For comparison, another control cell of the same length "
        "replaces the answer: a value near that one, within the 95 % intervals (in brackets), "
        "means that the answer no longer resembles its own control cell."
    )
    name = "Validity of the answers"
    first = table[table["subject"].isin(table["subject"].unique()[:MOST_ROWS])]
    plot = _subject_table("trust", name, "Perturbation", first, columns, "Answers")
    return Section(name, text, plot=plot)


def _reconstruction(table: pd.DataFrame) -> Section:
    titles = {"r_squared": "R²", "pearson": "Pearson", "spearman": "Spearman"}
    columns = {(key, "model"): title for key, title in titles.items()}
    columns |= {(key, "gene_mean"): f"{name}, mean of each gene" for key, name in titles.items()}
    text = (
        "Expression computed from the ranks alone against measured expression, for whole sentences "
        "in their true order: an upper bound on how well expression can be recovered from a "
        "predicted sentence. For comparison: the mean of each gene over the other cells, without "
        "ranks. In brackets: 95 % intervals."
    )
    if depth_figures := at_depth(table):
        depth, measured, predicted = (
            depth_figures[key] for key in ("depth", "total_measured", "total_model")
        )
        columns |= {
            ("r_squared_named", "model"): f"R², first {depth} genes",
            ("r_squared_all_genes", "model"): f"R², all genes, from the first {depth}",
            ("r_squared_all_genes", "gene_mean"): "R², all genes, mean of each gene",
        }
        text += (
            f" The answers have {depth} genes (median), and genes missing in an answer are 0: "
            f"therefore the same sentences are also cut to their first {depth} genes, and "
            "evaluated over these and over all genes. Before the logarithm the values of a "
            f"measured cell sum to {measured:,.0f}, of an answer to {predicted:,.0f} (medians)."
        )
    name = "Expression recovered from ranks"
    plot = _subject_table("ranks", name, "Sample", table, columns, "Cells")
    return Section(name, text, plot=plot)
