"""The evaluation in the report: metrics with intervals, next to their baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from c2sflow.report.benchmark import benchmark
from c2sflow.report.embeddings import embeddings
from c2sflow.report.held_out import held_out
from c2sflow.report.labels import label_sections
from c2sflow.report.metric_tables import (
    METRICS,
    MOST_ROWS,
    bars_of,
    interval,
    metric_table,
    over_subjects,
    predictors_of,
    subject_table,
)
from c2sflow.report.plots import Section, number, safe, table_plot
from c2sflow.report.probes import cell_types, confusion
from c2sflow.report.ranks import at_depth
from c2sflow.report.run import Run, constrained

NULL = (
    "No effect: the model's metric after measured and control cells swap their labels at random; "
    "values in this range (in brackets) also occur for a perturbation without effect. "
    "By chance: sentences of random genes."
)
IN_X_C2S = (
    "Distances in <code>X_c2s</code> are between the embeddings of sentences, which also depend on "
    "their length: answers have fewer genes than measured cells, and are far from them (a large "
    "scFID) for that reason alone. Judge by the distances in expression."
)


def evaluation(run: Run) -> list[Section]:
    """Cell types, perturbations, answers and reconstruction, as far as there are figures."""
    sections = _left_out("Evaluated cells", run.evaluation_notes.get("cells"))
    if "accuracy" in run.evaluation:
        notes = run.evaluation_notes.get("accuracy", [])
        sections.append(cell_types(run.evaluation["accuracy"], notes))
        sections.append(confusion(run.evaluation["confusion"]))
    if "embedding" in run.evaluation:
        notes = run.evaluation_notes.get("embedding", [])
        sections.append(embeddings(run.evaluation["embedding"], notes))
    sections += label_sections(run)
    if "perturbation" in run.evaluation:
        sections += _perturbations(run.evaluation["perturbation"])
    if "held_out" in run.evaluation:
        notes = run.evaluation_notes.get("held_out", [])
        sections.append(held_out(run.evaluation["held_out"], notes))
    sections += _left_out("Notes on the comparison", run.evaluation_notes.get("perturbation"))
    if "benchmark" in run.evaluation:
        notes = run.evaluation_notes.get("benchmark", [])
        sections.append(benchmark(run.evaluation["benchmark"], notes))
    if "generation" in run.evaluation:
        sections.append(_generated(run.evaluation["generation"]))
    sections += _left_out("Generated, not compared", run.evaluation_notes.get("generation"))
    if "text_scores" in run.evaluation:
        sections.append(_text_scores(run.evaluation["text_scores"]))
    if "trust" in run.evaluation:
        sections.append(_trust(run.evaluation["trust"], free=not constrained(run)))
    if "reconstruction" in run.evaluation:
        sections.append(_reconstruction(run.evaluation["reconstruction"]))
    return sections


def _left_out(name: str, notes: Sequence[str] | None) -> list[Section]:
    """What is not compared, and why."""
    lines = "".join(f"<li>{safe(note)}</li>" for note in notes or ())
    return [Section(name, content=f"<ul>{lines}</ul>")] if lines else []


def better_than_no_change(table: pd.DataFrame | None) -> tuple[int, int]:
    """In how many figures the predictions are better than no change, and in how many not.

    Left out is what cannot be otherwise: the directions, of which no change has none right, and
    the distances in X_c2s, where an answer is far from a cell because its sentence is shorter.
    """
    if table is None:
        return 0, 0
    shown, _ = over_subjects(table)
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


def _perturbations(table: pd.DataFrame) -> list[Section]:
    shown, n_subjects = over_subjects(table)
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
        f"{NULL} {IN_X_C2S} Definitions: docs/output.md; all figures: "
        "<code>evaluation/perturbation.tsv</code>."
    )
    name = "Against measured cells"
    sections = [Section(name, text, plot=metric_table("measured", name, shown))]
    single = table[(table["subject"] != "") & table["metric"].isin(METRICS)]
    metric = "pearson_change_top_20"
    chosen = single[single["metric"] == metric]
    if not chosen.empty:
        bars = {
            f"{subject} ({group['n'].iloc[0]:,} predicted, {group['n_reference'].iloc[0]:,} "
            "measured cells)": dict(zip(group["predictor"], group["value"], strict=True))
            for subject, group in list(chosen.groupby("subject"))[:MOST_ROWS]
        }
        parts = list(predictors_of(shown).items())
        title = "Changes of the top 20 genes"
        text = (
            "Pearson correlation of predicted and measured change over the 20 genes that change "
            "most in one half of the cells, evaluated on the other half. It is undefined for the "
            "no-change baseline."
        )
        plot = bars_of("top_genes", title, "Pearson correlation", bars, parts)
        sections.append(Section(title, text, plot=plot))
    return sections


def _generated(table: pd.DataFrame) -> Section:
    """Means over the cell types, or of the only group."""
    shown, n_types = over_subjects(table)
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
    return Section(name, text, plot=metric_table("generated_real", name, shown))


def _text_scores(table: pd.DataFrame) -> Section:
    rows = {}
    for row in table.head(MOST_ROWS).to_dict("records"):
        figure = {"value": row["f1"], "ci_low": row["f1_ci_low"], "ci_high": row["f1_ci_high"]}
        rows[f"{row['task']} · {row['group']} · {row['generated']}"] = {
            "f1": interval(figure), "precision": row["precision"], "recall": row["recall"],
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


def _trust(table: pd.DataFrame, free: bool) -> Section:
    """`free`: whether decoding leaves words that are no new genes."""
    wrong = {
        ("invalid_fraction", "model"): "Invalid words",
        ("repeated_fraction", "model"): "Repeated words",
    }
    columns = {
        ("novelty", "model"): "Novelty",
        **(wrong if free else {}),
        ("cut_fraction", "model"): "Cut answers",
        ("novelty", "another_control"): "Novelty of another control cell",
    }
    text = (
        "Novelty: share of an answer's genes that are not in the control cell's sentence, cut to "
        "the same length; 0 is a copy. For comparison, another control cell of the same length "
        "replaces the answer: a value near that one, within the 95 % intervals (in brackets), "
        "means that the answer no longer resembles its own control cell."
    )
    name = "Novelty of the answers"
    first = table[table["subject"].isin(table["subject"].unique()[:MOST_ROWS])]
    plot = subject_table("trust", name, "Perturbation", first, columns, "Answers")
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
    plot = subject_table("ranks", name, "Sample", table, columns, "Cells")
    return Section(name, text, plot=plot)
