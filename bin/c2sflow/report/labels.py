"""Labels in the report's evaluation: as cell types, and how far to trust probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from c2sflow.report.metric_tables import interval
from c2sflow.report.plots import Section, curve_plot, safe
from c2sflow.report.probes import cell_types, confusion
from c2sflow.report.run import Run

AIM = 0.05  # of the calibration error
FIGURES = {
    "ece": "Calibration error",
    "ece_tempered": "with the temperature",
    "ece_isotonic": "by isotonic regression",
    "rms_error": "Root mean square, less chance",
    "temperature": "Temperature",
    "accuracy": "Accuracy",
    "confidence": "Mean probability",
    "log_loss": "Log loss",
    "aurc": "Mean risk",
}

CORRECTED = {  # curves of the reliability: what the legend adds
    "reliability": "",
    "reliability_tempered": " with the temperature",
    "reliability_isotonic": " by isotonic regression",
}


def label_sections(run: Run) -> list[Section]:
    """Every label but the cell type against the truth; and the calibration of all."""
    sections = []
    notes = run.evaluation_notes.get("labels", [])
    for asked, table in _by_label(run.evaluation.get("labels")):
        own = [note.removeprefix(f"{asked}: ") for note in notes if note.startswith(f"{asked}: ")]
        sections.append(cell_types(table, own, asked))
    for asked, table in _by_label(run.evaluation.get("labels_confusion")):
        if (table["predictor"] == "linear_probe").any():
            sections.append(confusion(table, asked))
    if "calibration" in run.evaluation:
        shown = [name for name, _ in _by_label(run.evaluation.get("labels"))]
        others = [note for note in notes if note.split(":")[0] not in shown]
        sections += _calibration(
            run.evaluation["calibration"], run.evaluation["calibration_curves"], others
        )
    return sections


def _by_label(table: pd.DataFrame | None) -> Iterator[tuple[str, pd.DataFrame]]:
    if table is not None:
        yield from ((str(name), own) for name, own in table.groupby("asked", sort=False))


def _calibration(
    figures: pd.DataFrame, curves: pd.DataFrame, notes: Sequence[str]
) -> list[Section]:
    """Whether a probability is how often the label is right, and what a limit gains."""
    rows = []
    for asked, table in _by_label(figures):
        own = table.set_index("metric")
        cells = "".join(f"<td>{interval(own.loc[name].to_dict())}</td>" for name in FIGURES)
        null = f"{own.loc['ece', 'null']:.3f}"
        rows.append(f"<tr><th>{safe(asked)}</th>{cells}<td>{null}</td></tr>")
    head = "".join(f"<th>{title}</th>" for title in [*FIGURES.values(), "Error by chance"])
    text = (
        "Of a calibrated model 80 % of the labels with probability 0.8 are right (the diagonal). "
        f"The calibration error is the mean distance from it (aim: at most {AIM:g}; by chance: "
        "what a calibrated model has with so few cells, which the root mean square leaves out). "
        "Below the diagonal the model is too sure: one temperature for all scores mends that "
        "without changing a label; set it as <code>temperature</code> of the entry in "
        "<code>--labels</code>. Where the model is too sure of some labels only, isotonic "
        "regression helps, with many cells: its steps are in "
        "<code>evaluation/calibration_curves.tsv</code>. Both are fitted on cells and judged on "
        "others. All: <code>evaluation/calibration.tsv</code>."
        f"</p>{''.join(f'<p>{safe(note)}</p>' for note in notes)}"
        f"<table class='table c2s-facts'><tr><th></th>{head}</tr>{''.join(rows)}</table><p>"
    )
    reliability = {
        f"{asked}{CORRECTED[curve]}": _points(own)
        for (asked, curve), own in curves.groupby(["asked", "curve"], sort=False)
        if curve in CORRECTED
    }
    reliability["calibrated"] = [(0.0, 0.0), (1.0, 1.0)]
    name = "Calibration of the probabilities"
    axes = ("Probability of the label", "Share that is right")
    first = Section(name, text, plot=curve_plot("reliability", name, axes, reliability, digits=2))
    risks = {
        str(asked): _points(own)
        for asked, own in curves[curves["curve"] == "risk_coverage"].groupby("asked", sort=False)
    }
    text = (
        "What <code>--min_probability</code> gains: the share of wrong labels among the cells that "
        "keep one, by their share of all cells. A flat line: the probability does not distinguish "
        "right from wrong. The limit of each point: <code>evaluation/calibration_curves.tsv</code>."
    )
    name = "Risk and coverage"
    axes = ("Share of the cells with a label", "Share of these that is wrong")
    second = Section(name, text, plot=curve_plot("risk", name, axes, risks, digits=2))
    return [first, second]


def _points(curve: pd.DataFrame) -> list[tuple[float, float]]:
    own = curve.sort_values("x")
    return list(zip(own["x"].astype(float), own["y"].astype(float), strict=True))
