"""Cells to examples: controls and perturbed cells, and what is said of those left out."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.training.cells import TrainingCells
from c2sflow.training.material import (
    find_treated,
    make_epochs,
    no_op_cells,
    validation_shares,
)
from c2sflow.training.options import TrainingOptions

OPTIONS = {"label_column": "label", "perturbation_column": "treatment"}


@pytest.fixture
def cells(training_shards):
    """6 of the cells, with treatments and labels of our own."""
    table = pd.read_parquet(training_shards[0])[:6].reset_index(drop=True)
    table["treatment"] = ["control", "IFN", "DMSO", "TNF", None, "IFN"]
    table["label"] = ["B", "B", "T", "NK", "B", None]
    return TrainingCells(
        table.drop(columns="cell_sentence"), pa.array(table["cell_sentence"], pa.large_string())
    )


def test_controls_are_labelled_so_or_asked_for(cells):
    plain = find_treated(cells.obs, TrainingOptions("perturbation", **OPTIONS))
    assert plain.control.tolist() == [True, False, True, False, False, False]
    assert plain.perturbed.tolist() == [False, True, False, True, False, True]
    query = "treatment == 'TNF'"
    asked = find_treated(cells.obs, TrainingOptions("perturbation", control=query, **OPTIONS))
    assert asked.control.tolist() == [True, False, True, True, False, False]
    assert asked.perturbed.tolist() == [False, True, False, False, False, True]


def test_a_perturbed_cell_without_a_control_of_its_label_is_left_out_and_told(cells):
    epochs, warnings = make_epochs(cells, TrainingOptions("perturbation,cell_type", **OPTIONS))
    drawn = [epochs[number] for number in range(10 * epochs.n_examples)]
    pairs = {(draw.source, draw.cell) for draw in drawn if draw.task == "perturbation"}
    assert pairs == {(0, 1)}
    assert {draw.cell for draw in drawn if draw.task == "cell_type"} == {0, 1, 2, 3, 4}
    assert warnings[0] == "2 perturbed cells have no control cell of their label"
    assert warnings[1].startswith("no two control cells are alike in organism and label")
    assert len(warnings) == 2
    unlabelled = TrainingOptions("perturbation", perturbation_column="treatment")
    epochs, warnings = make_epochs(cells, unlabelled)
    pairs = {(d.source, d.cell) for d in (epochs[number] for number in range(300))}
    no_ops = {(0, 2), (2, 0)}  # as many controls as the two conditions have cells on average
    assert pairs >= no_ops
    assert pairs - no_ops == {(control, cell) for control in (0, 2) for cell in (1, 3, 5)}
    assert not warnings


def test_assignment_places_only_cells_that_are_paired(cells):
    placed = []

    def place(given, rows):
        assert given is cells
        placed.extend(rows.tolist())
        return np.arange(rows.size, dtype=np.float32)[:, None]

    options = TrainingOptions("perturbation", pairing="assignment", perturbation_column="treatment")
    epochs, _ = make_epochs(cells, options, place=place)
    assert placed == [0, 1, 2, 3, 5]
    pairs = {(d.source, d.cell) for d in (epochs[number] for number in range(300))}
    no_ops = {(0, 2), (2, 0)}
    assert pairs >= no_ops
    assert pairs - no_ops == {(0, 1), (2, 5), (0, 3), (2, 3)}  # by condition; the control of 3 anew


@given(
    n_controls=st.integers(0, 30),
    labels=st.lists(st.sampled_from(["IFN", "TNF", "IL6"]), max_size=40),
    seed=st.integers(0, 9),
)
def test_no_ops_are_one_condition_more(n_controls, labels, seed):
    conditions = pd.Series(["control"] * n_controls + labels, dtype=object)
    controls = (conditions == "control").to_numpy()
    chosen = no_op_cells(controls, ~controls, conditions, seed)
    assert not chosen[~controls].any()
    assert chosen.sum() == min(n_controls, np.ceil(len(labels) / max(1, len(set(labels)))))
    assert (chosen == no_op_cells(controls, ~controls, conditions, seed)).all()


def test_tasks_without_cells_fall_to_the_others(cells):
    cells.obs["treatment"] = None
    options = TrainingOptions("perturbation,cell_type,generation:2", **OPTIONS)
    epochs, warnings = make_epochs(cells, options)
    assert warnings == ["no cell for the task perturbation"]
    assert epochs.counts == {"cell_type": 2, "generation": 4}
    shares = validation_shares(epochs, options.shares())
    assert shares == pytest.approx({"cell_type": 1 / 3, "generation": 2 / 3})
    assert make_epochs(cells, TrainingOptions("perturbation", **OPTIONS))[0] is None
