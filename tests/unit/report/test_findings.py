"""What the report marks good or poor: never without a null or a bound that the figure passes."""

import numpy as np
import pandas as pd
import pytest

from c2sflow.report.evaluation import better_than_no_change
from c2sflow.report.findings import findings
from c2sflow.report.map import CellMap
from c2sflow.report.run import Run
from c2sflow.report.verdict import verdict

FIT = {"slope": -0.6, "intercept": 2.1, "r_squared": 0.99, "n": 1000}
TRAINED = {"method": "lora", "validation_loss": 1.25, "first_validation_loss": 3.5, "best_step": 20}


def a_run(*, parameters=None, qc=(90,), **more):
    """A run of samples of 100 cells, of which QC keeps so many; `more` are fields of the run."""
    records = [
        {"sample": f"s{n}", "n_cells_in": 100, "n_cells_kept": kept, "warnings": []}
        for n, kept in enumerate(qc)
    ]
    obs = pd.DataFrame({"sample": "s0", "n_genes_by_counts": [5, 9, 90], "c2s_n_genes": [5, 8, 80]})
    known = {"training_known": True, "label_column": "label"}
    empty = {key: [] for key in ("sentences", "embed", "annotate", "perturb")}
    return Run(
        qc=records,
        obs=obs,
        provenance={"parameters": parameters or {}, "rank_fit": FIT},
        cells=CellMap(3, obs, np.arange(3), missing="too few"),
        **empty | known | more,
    )


def states(run):
    return {finding.title: finding.state for finding in findings(run)}


def typed(predicted, labels=None, probability=0.9, coverage=0.99):
    """A run with these predicted types, and what the labels have of the model's probability."""
    types = pd.DataFrame({"predicted": predicted, "probability": probability, "trained": False})
    if labels is not None:
        types["label"] = labels
    labels = {"cell_type": {"coverage": coverage}}
    record = {"sample": "s0", "labels": labels, "n_cells": len(types), "warnings": []}
    return a_run(types=types, annotate=[record])


@pytest.mark.parametrize(
    ("qc", "state"), [([100, 80], "good"), ([100, 79], ""), ([100, 50], ""), ([100, 49], "poor")]
)
def test_cells_are_judged_by_the_sample_that_loses_most(qc, state):
    assert states(a_run(qc=qc))["cells kept"] == state
    assert states(a_run(qc=qc, parameters={"skip_qc": True}))["cells kept"] == ""


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "good"),
        ({"method": "scratch"}, ""),  # any model beats random weights
        ({"validation_loss": 3.49}, ""),  # lower by less than 1 %
        ({"validation_loss": 3.5}, "poor"),
        ({"validation_loss": 7.736}, "poor"),
        ({"best_step": 0}, "poor"),
    ],
)
def test_a_loss_is_good_only_against_the_loss_before_training(change, state):
    assert states(a_run(training={**TRAINED, **change, "warnings": []}))["validation loss"] == state


def test_a_probability_is_no_proof():
    """All cells are called one type, and the list has nothing of the model's probability."""
    assert states(typed(["NK"] * 40 + ["B"] * 40))["median probability"] == ""
    one = next(f for f in findings(typed(["NK"] * 298)) if f.title == "median probability")
    assert one.state == ""
    assert "the same for all cells" in one.meaning
    run = typed(["NK"] * 298, coverage=0.0004)
    assert states(run)["median probability"] == "poor"
    assert verdict(run)["poor"] == [
        "cell types: the labels of the list have 0.0% of the model's probability"
    ]


@pytest.mark.parametrize(
    ("n_right", "state"),
    # 60 of 100 cells are T cells; Wilson's interval of 69 of 100 begins at 0.594, of 70 at 0.604.
    [(60, "poor"), (69, ""), (70, "good")],
)
def test_agreement_is_judged_by_the_most_common_label(n_right, state):
    labels = ["T"] * 60 + ["B"] * 40
    predicted = labels[:n_right] + ["T"] * (100 - n_right)
    assert states(typed(predicted, labels))["cell types as labelled"] == state
    unlisted = typed(predicted, labels, coverage=0.05)
    assert states(unlisted)["cell types as labelled"] == "poor"


def test_nothing_is_praised_by_cells_that_the_model_may_have_seen():
    labels = ["T"] * 60 + ["B"] * 40
    run = typed(labels, labels)
    assert states(run)["cell types as labelled"] == "good"
    run.training_known = False
    assert states(run)["cell types as labelled"] == ""


def a_comparison(**values):
    """A table of EVALUATE: for each metric the value of the model and of no change."""
    rows = [
        {"metric": metric, "subject": "IFN", "space": space, "predictor": predictor, "value": value}
        for metric, (space, *pair) in values.items()
        for predictor, value in zip(("model", "no_change"), pair, strict=True)
    ]
    return pd.DataFrame(rows)


def test_predictions_are_counted_against_no_change():
    table = a_comparison(
        mse=("expression", 0.1, 0.2),  # lower is better
        mse_top_20=("expression", 0.2, 0.1),
        gene_overlap_top_20=("pseudobulk", 0.4, 0.6),
        kendall_tau_top_20=("pseudobulk", 0.4, 0.4),  # as good is not better
        energy_distance=("expression_pcs", 1.0, 2.0),
        # What cannot be otherwise is not counted:
        direction_top_20=("expression", 0.9, 0.0),
        scfid=("X_c2s", 9.0, 1.0),
        pearson_change=("expression", 0.5, np.nan),
    )
    assert better_than_no_change(table) == (2, 3)
    assert better_than_no_change(None) == (0, 0)
    summary = pd.DataFrame({"n_predictions": [9], "truncated_fraction": 0.0})
    summary = summary.assign(invalid_fraction=0.0, duplicate_fraction=0.0)
    for chosen, state, figure in (
        (table, "poor", "2 of 5"),
        (table[table["metric"] != "mse_top_20"], "poor", "2 of 4"),
        (table[table["metric"].isin(["mse", "energy_distance"])], "good", "2 of 2"),
    ):
        run = a_run(summary=summary, evaluation={"perturbation": chosen})
        found = {finding.title: finding for finding in findings(run)}["better than no change"]
        assert (found.state, found.figure) == (state, figure)
    run = a_run(summary=summary, evaluation={"perturbation": table})
    assert "predictions: worse than no change in 3 of 5 figures" in verdict(run)["poor"]


@pytest.mark.parametrize(
    ("cut", "wrong", "state"),
    [(0.05, 0, "good"), (0.06, 0, ""), (0.6, 0, "poor"), (0, 0.6, "poor")],
)
def test_answers_are_complete_or_not(cut, wrong, state):
    summary = pd.DataFrame({"n_predictions": [9], "truncated_fraction": cut})
    summary = summary.assign(invalid_fraction=wrong, duplicate_fraction=0.0)
    run = a_run(summary=summary)
    assert states(run)["complete answers"] == state
    assert "new genes" in "".join(finding.meaning for finding in findings(run))
    run.provenance["parameters"] = {"valid_genes_only": True, "no_repeats": True}
    assert "new genes" not in "".join(finding.meaning for finding in findings(run))


def test_to_end_where_the_training_ended_is_no_fault():
    summary = pd.DataFrame({"n_predictions": [9], "truncated_fraction": 0.6})
    summary = summary.assign(invalid_fraction=0.0, duplicate_fraction=0.0)
    run = a_run(summary=summary)
    for source, at_tokens, state in (
        ("model", 0, ""),
        ("model", 2, "poor"),
        ("default", 0, "poor"),
    ):
        record = {"max_answer_genes_from": source, "n_cut_by_tokens": at_tokens}
        run.perturb[:] = [{"sample": "s0", "warnings": [], **record}]
        assert states(run)["complete answers"] == state


def test_the_rank_fit_has_no_bound_of_its_own_but_the_genes_means():
    summary = pd.DataFrame({"n_predictions": [9], "truncated_fraction": 0.0})
    summary = summary.assign(invalid_fraction=0.0, duplicate_fraction=0.0)
    assert states(a_run(summary=summary))["rank to expression"] == ""  # R² 0.99
    rows = [
        ("r_squared_named", "model", 0.8), ("r_squared_all_genes", "model", 0.5),
        ("r_squared_all_genes", "gene_mean", 0.4), ("median_total", "measured", 9.0),
        ("median_total", "model", 5.0),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["metric", "predictor", "value"])
    table = table.assign(subject="", ci_low=table["value"] - 0.05, depth=100.0)
    for null, state in ((0.4, "good"), (0.46, ""), (0.5, "poor")):
        table.loc[2, "value"] = null
        run = a_run(summary=summary, evaluation={"reconstruction": table})
        assert states(run)["rank to expression"] == state


def test_the_verdict_has_all_warnings_added_up():
    run = a_run(qc=(90, 40))
    run.qc[0]["warnings"] = ["7 cells were cut", "no mitochondrial genes"]
    run.embed = [{"sample": "s0", "warnings": ["5 cells were cut"]}]
    found = verdict(run)
    assert found["warnings"] == ["s0: 12 cells were cut", "s0: no mitochondrial genes"]
    assert found["poor"] == ["cells: QC keeps 40% of s1"]
    assert found["good"] == []
