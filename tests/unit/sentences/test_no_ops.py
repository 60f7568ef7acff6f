"""No-ops: what is said where nothing is to change, to which cells, and where they are left out."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from c2sflow.generation.tasks import write_answers
from c2sflow.inputs.perturbations import Treatment
from c2sflow.perturbation.planning import describe_no_ops, plan_predictions
from c2sflow.results.predictions import Predicted, merge_predictions, summarise
from c2sflow.sentences.no_ops import NoOps, find_no_ops, predicted_only


@pytest.fixture(scope="module")
def cells():
    n = 40
    return pd.DataFrame(
        {
            "shard": "s.00000",
            "cell_id": [f"cell{i}" for i in range(n)],
            "sample": "s",
            "drug": [" DMSO", "IFN", "DMSO", "untreated"] * 10,
            "arm": ["baseline", "treated"] * 20,
            "type": ["B", "T", None, "T {x}", "NA"] * 8,
        }
    )


def treatment(name, **columns):
    return Treatment(name, name, "", columns=columns)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"perturbation_column": "drug"}, "DMSO"),
        ({"control": "drug == 'untreated'"}, "untreated"),
        ({"control": "arm == 'baseline'"}, "control"),  # no usual name: not guessed
        ({"control": "arm == 'baseline'", "perturbation_column": "arm"}, "baseline"),
        ({"control": "drug == 'IFN'", "perturbation_column": "arm"}, "control"),  # all are treated
        ({}, "control"),
        ({"perturbations": ["IFN", "Vehicle"], "perturbation_column": "drug"}, "Vehicle"),
    ],
)
def test_a_no_op_is_called_what_the_file_calls_its_controls(cells, options, said):
    assert find_no_ops("auto", cells, **options).perturbation == said


def test_none_and_a_text_of_the_users_own(cells):
    assert find_no_ops("none", cells) is None
    no_ops = find_no_ops("conversion to {type}", cells)
    plan = plan_predictions(cells, treatments=[treatment("A")], no_ops=no_ops)
    rows = plan[plan["c2s_no_op"]]
    own = cells.set_index("cell_id")["type"]
    labelled = own[own.isin(["B", "T", "T {x}"])]
    assert rows.set_index("cell_id")["perturbation"].to_dict() == {
        cell: f"conversion to {label}" for cell, label in labelled.items()
    }
    assert set(rows["condition"]) == {"no-op: conversion to own type"}
    # A cell without a type has no no-op, and its prediction nothing to compare with.
    predicted = predicted_only(plan).set_index("cell_id")["c2s_compared_with"]
    assert set(predicted[predicted.notna()].index) == set(labelled.index)
    assert any("16 predictions have no no-op" in line for line in describe_no_ops(plan))


def test_each_kind_of_task_has_its_own(cells, caplog):
    no_ops = find_no_ops("auto", cells, perturbation_column="drug", label_column="type")
    treatments = [treatment("IFN"), treatment("IL6"), treatment("Conversion to B")]
    plan = plan_predictions(
        cells, treatments=treatments, no_ops=no_ops, max_cells_per_perturbation=8, seed=1
    )
    predicted = predicted_only(plan)
    assert predicted.groupby("condition").size().to_dict() == {t.condition: 8 for t in treatments}
    expected = {
        "IFN": "no-op: DMSO", "IL6": "no-op: DMSO",
        "Conversion to B": "no-op: conversion to own type",
    }  # fmt: skip
    known = predicted[predicted["c2s_compared_with"].notna()]
    assert (known["c2s_compared_with"] == known["condition"].map(expected)).all()
    # Each cell once, for all perturbations that share the no-op.
    asked = predicted[predicted["condition"].isin(["IFN", "IL6"])]["cell_id"]
    got = plan[plan["condition"] == "no-op: DMSO"]["cell_id"]
    assert sorted(got) == sorted(set(asked))
    with caplog.at_level(logging.INFO):
        line, *_ = describe_no_ops(plan, 3)
    n = int(plan["c2s_no_op"].sum())
    assert line.startswith(f"plan: {3 * n} more answers (+{n / 24:.0%}), to 'no-op: DMSO' and ")


def test_a_conversion_without_types_has_no_no_op(cells):
    no_ops = find_no_ops("auto", cells, perturbation_column="drug")
    plan = plan_predictions(cells, treatments=[treatment("conversion to B")], no_ops=no_ops)
    assert not plan["c2s_no_op"].any()
    assert plan["c2s_compared_with"].isna().all()
    assert "plan: no no-op is predicted to compare with" in describe_no_ops(plan)[0]


def test_what_the_prompt_takes_from_the_table_is_matched(cells):
    table = [treatment("A", dose="1", time="6 h", lot="x"), treatment("A2", dose="9", time="24 h")]
    time_only = NoOps("DMSO", None)
    assert [time_only.no_op_for(t).condition for t in table] == [
        "no-op: DMSO, 6 h",
        "no-op: DMSO, 24 h",
    ]
    assert time_only.no_op_for(table[0]).columns == {
        "time": "6 h"
    }  # no dose of the vehicle is said
    with_lot = NoOps("DMSO", None, frozenset({"lot", "dose"}))
    assert with_lot.no_op_for(table[0]).columns == {"dose": "1", "time": "6 h", "lot": "x"}
    plan = plan_predictions(cells, treatments=table, no_ops=time_only)
    rows = plan[plan["c2s_no_op"]]
    assert rows.groupby("condition")["time"].unique().map(list).to_dict() == {
        "no-op: DMSO, 6 h": ["6 h"], "no-op: DMSO, 24 h": ["24 h"],
    }  # fmt: skip


def test_no_ops_are_marked_and_are_no_predictions(tmp_path):
    n = 6
    table = pd.DataFrame(
        {
            "source_cell": [f"c{i // 2}" for i in range(n)], "condition": ["A", "no-op: DMSO"] * 3,
            "perturbation": ["A", "DMSO"] * 3, "sample": "s", "organism": "human",
            "sample_index": np.zeros(n, np.int32), "c2s_n_predicted_genes": 2,
            "c2s_invalid_genes": 0, "c2s_duplicate_genes": 0, "c2s_finish_reason": "eos",
            "c2s_log_likelihood": -1.0, "c2s_truncated": False, "c2s_sentence": "G0 G1",
            "c2s_no_op": [False, True] * 3, "c2s_compared_with": ["no-op: DMSO", None] * 3,
        }
    )  # fmt: skip
    write_answers(tmp_path / "s.perturbed.parquet", table, np.ones((n, 4), np.float32))
    cells = pd.DataFrame({"sample": "s"}, index=[f"c{i}" for i in range(3)])
    shard = Predicted(tmp_path / "s.perturbed.parquet", n, {"G0": 0, "G1": 1}, cells.index)
    fit = {"slope": -1.0, "intercept": 2.0, "r_squared": 1.0, "n": 9}
    var = pd.DataFrame(index=["G0", "G1"])
    obs, _ = merge_predictions([shard], cells, var, fit, tmp_path / "p.h5ad", {})
    written = ad.read_h5ad(tmp_path / "p.h5ad")
    assert written.obs["c2s_no_op"].dtype == bool
    predicted = written[~written.obs["c2s_no_op"]].obs
    assert predicted["c2s_condition"].tolist() == ["A"] * 3
    assert (predicted["c2s_compared_with"] == "no-op: DMSO").all()
    assert written.obs_names[1] == "c0|no-op: DMSO"
    summary = summarise(obs)
    assert summary[["condition", "n_predictions"]].to_numpy().tolist() == [["A", 3]]
