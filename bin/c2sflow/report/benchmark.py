"""The Virtual Cell Challenge's metrics in the report, each beside its baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from c2sflow.report.plots import Section, safe, table_plot

# cell-eval2's names, what they are, and which is better.
METRICS = {
    "pds_cosine": ("Discrimination of perturbations (cosine)", "↑"),
    "pds_l1": ("Discrimination of perturbations (L1)", "↑"),
    "pds_l2": ("Discrimination of perturbations (L2)", "↑"),
    "delta_pearson": ("Pearson of changes", "↑"),
    "expr_mse_unbiased_capped_norm": ("Expression error", "↓"),
    "de_wilcoxon_overlap": ("DE genes: overlap", "↑"),
    "de_wilcoxon_sig_jaccard": ("DE genes: Jaccard", "↑"),
    "de_wilcoxon_direction_match": ("DE genes: right direction", "↑"),
    "de_wilcoxon_direction_fidelity_yield_raw": ("DE genes: direction fidelity", "↑"),
    "de_wilcoxon_direction_reach_raw": ("DE genes: reach", "↑"),
    "de_wilcoxon_lfc_nmae": ("Log-fold-change error", "↓"),
}
PREDICTORS = {
    "model": "This model",
    "mean_response": "Mean response",
    "no_change": "No change",
    "linear": "Linear, gene features",
    "replicate": "Replicate",
}
TEXT = (
    "Metrics of the Virtual Cell Challenge 2026, computed by cell-eval2 from predicted counts "
    "(<code>evaluation/benchmark.tsv</code>), means over {n} perturbations. Scaled: 0 is the mean "
    "response (every perturbation does what perturbations do on average), 1 a replicate of the "
    "experiment (halves of the measured cells); below 0 the average of all perturbations is the "
    "better prediction. The mean response and the linear baseline have seen the measured cells of "
    "the other perturbations, the model has not. An answer that ends early lacks genes, which "
    "counts as a fall of these."
)


def benchmark(table: pd.DataFrame, notes: Sequence[str]) -> Section:
    """The metrics as a table: a row for each, a column for each predictor."""
    rows = metric_rows(table)
    headers = {
        name: {"title": title, "scale": False}
        for name, title in ({"model": PREDICTORS["model"], "scaled": "Scaled"} | PREDICTORS).items()
        if any(own[name] for own in rows.values())
    }
    lines = "".join(f"<li>{safe(note)}</li>" for note in notes)
    n = int(table["n_conditions"].max()) if len(table) else 0
    name = "Virtual Cell Challenge"
    plot = table_plot("virtual_cell_challenge", name, "Metric", rows, headers)
    return Section(name, TEXT.format(n=n) + (f"<ul>{lines}</ul>" if lines else ""), plot=plot)


def metric_rows(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Figures of each predictor, and the model's scaled one, by metric; empty where missing."""
    rows = {}
    for metric, (title, better) in METRICS.items():
        own = table[table["metric"] == metric].set_index("predictor")
        if len(own):
            found = {name: _figure(own["value"].get(name, math.nan)) for name in PREDICTORS}
            scaled = _figure(own["scaled"].get("model", math.nan))
            rows[f"{title} {better}"] = {**found, "scaled": scaled}
    return rows


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
