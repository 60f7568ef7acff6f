"""Figures of held-out cells in the card of a trained model."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

HEADING = "## Held-out cells"
BEFORE = "## Prompts"
TYPES = ("accuracy", "balanced_accuracy")
# Of predicted perturbations: metric, and the space it is measured in.
CHANGES = {
    "pearson_change": "expression",
    "mse": "expression",
    "direction_significant": "expression",
    "gene_overlap_top_100": "pseudobulk",
    "energy_distance": "expression_pcs",
}
PREDICTORS = (
    "model", "no_change", "another_control", "perturbation_mean", "training_mean", "measured_half",
)  # fmt: skip


def with_held_out_figures(card: str, evaluation: Mapping[str, pd.DataFrame]) -> str:
    """The card with what the evaluation of its run found, before its prompts.

    Parameters
    ----------
    card
        Of `c2sflow.training.model_card.model_card`.
    evaluation
        Tables by name, of `c2sflow.data.result_tables.read_evaluation`. Of a run that trains, all
        their figures are of cells that the training never read.
    """
    parts = []
    if "accuracy" in evaluation:
        parts.append(_types(evaluation["accuracy"]))
    if "perturbation" in evaluation:
        parts.append(_changes(evaluation["perturbation"]))
    if not parts:
        return card
    summary = (
        "Cells that the training never read, beside baselines; 95 % intervals in brackets. What "
        "each figure is: `docs/output.md` of c2sflow; all of them: `evaluation/` of the run."
    )
    return card.replace(BEFORE, "\n\n".join([HEADING, summary, *parts, BEFORE]), 1)


def _types(table: pd.DataFrame) -> str:
    """Cell types: a row for each predictor and space."""
    whole = table[(table["subject"] == "") & table["metric"].isin(TYPES)]
    rows = ["| cell types | n | " + " | ".join(TYPES) + " |", "|---|---|---|---|"]
    for (predictor, space), found in whole.groupby(["predictor", "space"], sort=False):
        name = f"{predictor}, {space}" if space else predictor
        figures = found.set_index("metric")
        shown = " | ".join(_shown(figures.loc[metric]) for metric in TYPES)
        rows.append(f"| {name} | {found['n'].iloc[0]} | {shown} |")
    return "\n".join(rows)


def _changes(table: pd.DataFrame) -> str:
    """Perturbations: a row for each metric; the mean over them, or the only one."""
    subjects = set(table["subject"])
    overall = table[table["subject"] == ("" if "" in subjects else min(subjects))]
    known = [name for name in PREDICTORS if name in set(overall["predictor"])]
    what = f"mean of {len(subjects) - 1} perturbations" if "" in subjects else min(subjects)
    rows = [f"| {what} | " + " | ".join(known) + " |", "|---" * (len(known) + 1) + "|"]
    for metric, space in CHANGES.items():
        found = overall[(overall["metric"] == metric) & (overall["space"] == space)]
        figures = found.set_index("predictor")
        if len(figures):
            shown = [_shown(figures.loc[name]) if name in figures.index else "" for name in known]
            rows.append(f"| {metric} | " + " | ".join(shown) + " |")
    return "\n".join(rows)


def _shown(figure: pd.Series) -> str:
    """The value and its interval; empty where it is not defined."""
    value, low, high = (figure[name] for name in ("value", "ci_low", "ci_high"))
    if pd.isna(value):
        return ""
    return f"{value:.3g}" if pd.isna(low) else f"{value:.3g} [{low:.3g}, {high:.3g}]"
