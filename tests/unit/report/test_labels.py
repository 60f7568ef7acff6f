"""Labels other than the cell type in the report: shown, judged and escaped as cell types are."""

import numpy as np
import pandas as pd
import pytest

from c2sflow.evaluation.accuracy import confusion_table, label_figures
from c2sflow.evaluation.calibration import (
    Judged,
    calibration_curves,
    calibration_figures,
    curves_table,
)
from c2sflow.evaluation.figures import figures_table
from c2sflow.report.annotation import annotation
from c2sflow.report.evaluation import evaluation
from c2sflow.report.findings import findings
from c2sflow.report.map import CellMap
from c2sflow.report.run import Run

EVIL = "<b>lung</b>"
N = 120


@pytest.fixture(scope="module")
def run():
    rng = np.random.default_rng(0)
    truth = np.array(["blood", EVIL], dtype=object)[rng.integers(0, 2, N)]
    right = rng.random(N) < 0.8
    found = np.where(right, truth, "skin").astype(object)
    found[:5] = None
    table = pd.DataFrame({"predicted": found, "probability": 0.8, "label": truth, "trained": False})
    free = pd.DataFrame({"predicted": ["healthy"] * N, "probability": 0.5, "trained": False})
    labels = {
        "tissue": {
            "labels_from": "option", "n_labels": 3, "coverage": 0.01,
            "without": {"low_probability": 5},
        },
        "disease_state": {"labels_from": "free", "n_labels": 0, "coverage": None, "without": {}},
    }  # fmt: skip
    answers = np.where(pd.isna(found), "", found)
    accuracy = pd.concat([
        figures_table([*label_figures(truth, answers, "annotation", ""),
                       *label_figures(truth, truth, "linear_probe", "X_c2s")])
    ])  # fmt: skip
    confusion = confusion_table(truth, truth, "linear_probe", "X_c2s")
    scores = np.log(np.where(np.eye(3)[rng.integers(0, 3, N)] > 0, 0.8, 0.1))
    judged = Judged(scores, rng.integers(0, 3, N))
    calibration = figures_table(calibration_figures(judged, 0))
    curves = curves_table(calibration_curves(judged, 0))
    evaluated = {
        "labels": accuracy, "labels_confusion": confusion, "calibration": calibration,
        "calibration_curves": curves,
    }  # fmt: skip
    obs = pd.DataFrame({"sample": "s0", "n_genes_by_counts": [5], "c2s_n_genes": [5]})
    qc = {"sample": "s0", "n_cells_in": 100, "n_cells_kept": 100, "warnings": []}
    record = {"sample": "s0", "n_cells": N, "labels": labels, "warnings": []}
    return Run(
        qc=[qc], sentences=[], embed=[], annotate=[record], perturb=[], obs=obs,
        provenance={"parameters": {}, "rank_fit": {"r_squared": 0.9}},
        cells=CellMap(1, obs, np.arange(1), missing="few"), training_known=True,
        labels={"tissue": table, "disease_state": free}, measured_labels={"tissue": "organ"},
        evaluation={n: t.assign(asked="tissue") for n, t in evaluated.items()},
        evaluation_notes={"labels": [f"tissue: a note {EVIL}", f"cell_type: another {EVIL}"]},
    )  # fmt: skip


def test_each_label_has_its_sections(run):
    sections = {section.name: section for section in annotation(run)}
    assert list(sections) == [
        "Predicted tissue", "Confidence of the predictions: tissue", "Confusion matrix: tissue",
        "Predicted disease state", "Confidence of the predictions: disease state",
    ]  # fmt: skip
    text = sections["Predicted tissue"].description
    assert "Chosen from <code>--labels</code>" in text
    assert "5 cells have no tissue (<code>obs['c2s_tissue_status']</code>): 5 are less" in text
    assert "by predicted tissue (columns)" in sections["Confusion matrix: tissue"].description
    assert "Free answers" in sections["Predicted disease state"].description
    anchors = [section.plot.anchor for section in sections.values() if section.plot is not None]
    assert len(set(anchors)) == len(anchors)


def test_each_label_has_a_tile(run):
    found = {finding.title: finding for finding in findings(run)}
    tissue = found["tissue as labelled"]
    assert tissue.state == "poor"  # its candidates have 1 % of the model's probability
    assert "agree with organ" in tissue.meaning
    assert found["median probability of disease state"].figure == "0.50"


def test_the_evaluation_shows_each_label_and_its_calibration(run):
    sections = {section.name: section for section in evaluation(run)}
    assert list(sections) == [
        "Tissue from embeddings", "Confusion of the linear probe: tissue",
        "Calibration of the probabilities", "Risk and coverage",
    ]  # fmt: skip
    text = sections["Tissue from embeddings"].description
    assert "evaluation/labels.tsv" in text
    assert "a note &lt;b&gt;lung&lt;/b&gt;" in text
    calibrated = sections["Calibration of the probabilities"].description
    assert "<th>tissue</th>" in calibrated
    assert calibrated.count("<td>") == 10
    assert "cell_type: another &lt;b&gt;lung&lt;/b&gt;" in calibrated
    assert EVIL not in "".join(section.description for section in sections.values())
