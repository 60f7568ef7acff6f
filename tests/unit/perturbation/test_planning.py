"""Which cells are perturbed with what: labels, controls, tables, and sampling by cell."""

import logging
from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.data.obs.labels import is_control, is_perturbed
from c2sflow.inputs.perturbations import Treatment, read_perturbations
from c2sflow.perturbation.planning import plan_predictions


@pytest.fixture(scope="module")
def cells():
    """60 cells in 3 shards of 20."""
    return pd.DataFrame(
        {
            "shard": [f"s.{n // 20:05d}" for n in range(60)],
            "cell_id": [f"cell{n}" for n in range(60)],
            "sample": "s",
            "condition": ["control", "IFNB", None, "IL6", "Control", "IFNB"] * 10,
            "type": ["B", "T"] * 30,
        }
    )


def named(*names):
    return [Treatment(name, name, "--perturbations") for name in names]


def pairs(plan):
    return set(map(tuple, plan[["cell_id", "condition"]].to_numpy()))


def test_list_is_applied_to_every_control(cells):
    plan = plan_predictions(
        cells, treatments=named("A", "B"), control="condition in ['control', 'Control']"
    )
    assert pairs(plan) == {(f"cell{n}", p) for n in range(60) if n % 6 in (0, 4) for p in "AB"}
    assert len(plan) == 40


def test_column_without_control_gives_each_cell_its_own_label(cells, caplog):
    with caplog.at_level(logging.INFO):
        plan = plan_predictions(cells, perturbation_column="condition")
    own = dict(zip(cells["cell_id"], cells["condition"], strict=True))
    assert pairs(plan) == {(cell, own[cell]) for cell in own if own[cell] in ("IFNB", "IL6")}
    assert caplog.messages == [
        "plan: 10 cells without a label in condition and 20 labelled as control are skipped"
    ]


def test_column_with_control_applies_the_other_labels(cells, caplog):
    with caplog.at_level(logging.INFO):
        plan = plan_predictions(
            cells, perturbation_column="condition", control="condition == 'control'"
        )
    assert plan.groupby("condition").size().to_dict() == {"IFNB": 10, "IL6": 10}
    assert caplog.messages == [
        "plan: 10 of 60 cells are control cells; predictions are made for these only",
        "plan: of the other cells, 30 give their label in condition; 10 without a label and 10 "
        "labelled as control are skipped",
    ]


def test_training_cells_are_not_perturbed(cells):
    seen = cells.assign(set=["new", *["seen"] * 4] * 12)
    for options in (
        {"treatments": named("A"), "control": "type == 'B'"},
        {"perturbation_column": "condition"},
        {"perturbation_column": "condition", "control": "condition == 'control'"},
        {"treatments": named("A"), "control": "type == 'B'", "max_cells_per_perturbation": 4},
    ):
        every = pairs(plan_predictions(seen, **options | {"max_cells_per_perturbation": None}))
        new = pairs(plan_predictions(seen, training_cells="set == 'seen'", **options))
        own = {(cell, condition) for cell, condition in every if int(cell[4:]) % 5 == 0}
        assert new <= own
        assert len(new) == min(len(own), options.get("max_cells_per_perturbation", len(own)))
    with pytest.raises(UserError, match="not among the --training_cells"):
        plan_predictions(seen, treatments=named("A"), training_cells="type == ['B', 'T']")


def test_labels_of_every_spelling():
    labels = pd.Series(
        ["IFN", "DMSO", " Control ", "non-targeting", None, np.nan, "", " ", "nan", "NA", "Na", 7]
    )
    assert labels[is_perturbed(labels)].tolist() == ["IFN", "Na", 7]
    assert labels[is_control(labels)].tolist() == ["DMSO", " Control ", "non-targeting"]
    assert is_perturbed(labels.astype("category")).equals(is_perturbed(labels))


@pytest.fixture
def table(tmp_path):
    (tmp_path / "p.csv").write_text(
        "perturbation,dose,cell_query,n_cells,target\n"
        "A,1,,,x\n"
        "A,10,type == 'B',4,x\n"
        "A,10,type == 'T',2,x\n"
        "B,,type == 'B',,\n"
    )
    treatments, faults = read_perturbations("p.csv", tmp_path / "p.csv")
    assert not faults
    return treatments


def drawn(cell, key):
    """splitmix64 of the hashes of a cell and a key, in Python's whole numbers."""
    cell, key = (
        int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
        for text in (cell, key)
    )
    bits = ((cell ^ key) + 0x9E3779B97F4A7C15) % 2**64
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
    return bits ^ bits >> 31


def test_rows_of_a_table_choose_their_own_cells(cells, table):
    control = "condition == 'control'"
    plan = plan_predictions(
        cells, treatments=table, control=control, max_cells_per_perturbation=7, seed=3
    )
    # The same, with one loop over cells and sorting by hash.
    expected = set()
    for condition, kind, most in [
        ("A, 1", None, 7), ("A, 10", "B", 4), ("A, 10", "T", 2), ("B", "B", 7),
    ]:  # fmt: skip
        able = [
            cell["cell_id"]
            for cell in cells.to_dict("records")
            if cell["condition"] == "control" and kind in (None, cell["type"])
        ]
        able.sort(key=lambda cell, condition=condition: drawn(f"3\0s\0{cell}", condition))
        expected |= {(cell, condition) for cell in able[:most]}
    assert pairs(plan) == expected
    assert len(plan) == len(expected)
    assert list(plan) == ["shard", "cell_id", "condition", "perturbation", "dose", "target"]
    row = plan[plan["condition"] == "A, 10"].iloc[0]
    assert (row["perturbation"], row["dose"], row["target"]) == ("A", "10", "x")
    assert plan.loc[plan["condition"] == "B", ["dose", "target"]].isna().all(axis=None)


def test_a_cell_is_planned_once_for_a_condition(cells, tmp_path):
    (tmp_path / "p.csv").write_text("perturbation,cell_query\nA,type == 'B'\nA,\nA,type != 'x'\n")
    treatments, _ = read_perturbations("p.csv", tmp_path / "p.csv")
    plan = plan_predictions(cells, treatments=treatments)
    assert len(plan) == 60
    assert pairs(plan) == {(f"cell{n}", "A") for n in range(60)}


def test_columns_may_be_called_anything(cells):
    treatments = [Treatment("A", "A", "", columns={"self": "1", "columns": "2", "index": ""})]
    plan = plan_predictions(cells, treatments=treatments)
    assert plan[["self", "columns"]].drop_duplicates().to_numpy().tolist() == [["1", "2"]]


@given(
    seed=st.integers(0, 1000), order=st.integers(0, 1000), most=st.integers(1, 60),
    size=st.integers(1, 60),
)  # fmt: skip
def test_neither_order_nor_shards_change_the_choice(cells, seed, order, most, size):
    options = {"treatments": named("A", "B"), "max_cells_per_perturbation": most, "seed": seed}
    plan = plan_predictions(cells, **options)
    assert (plan.groupby("condition").size() == most).all()
    mixed = cells.sample(frac=1, random_state=order).reset_index(drop=True)
    mixed["shard"] = [f"s.{n // size:05d}" for n in range(60)]
    other = plan_predictions(mixed, **options | {"treatments": named("B", "A")})
    assert pairs(other) == pairs(plan)
    place = dict(zip(mixed["cell_id"], mixed["shard"], strict=True))
    assert (other["shard"] == other["cell_id"].map(place)).all()


def test_every_cell_is_drawn_equally_often(cells):
    """Of 60 cells 6, for 1,000 conditions: each cell 100 times, give or take."""
    plan = plan_predictions(
        cells, treatments=named(*(f"G{n}" for n in range(1000))), max_cells_per_perturbation=6
    )
    counts = plan.groupby("cell_id").size().reindex(cells["cell_id"], fill_value=0)
    assert counts.sum() == 6000
    assert (abs(counts - 100) < 4.5 * np.sqrt(90)).all()
    together = plan.groupby("condition")["cell_id"].agg(frozenset)
    assert together.nunique() > 990


def test_samples_of_two_perturbations_are_not_the_same_cells(cells):
    plan = plan_predictions(cells, treatments=named("A", "B"), max_cells_per_perturbation=20)
    chosen = [set(rows["cell_id"]) for _, rows in plan.groupby("condition")]
    assert chosen[0] != chosen[1]


def test_order_is_that_of_the_cells(cells):
    plan = plan_predictions(cells, treatments=named("B", "A"))
    position = plan["cell_id"].str.removeprefix("cell").astype(int).to_numpy()
    assert (np.diff(position) >= 0).all()
    assert plan["condition"].tolist()[:2] == ["A", "B"]


@pytest.mark.parametrize(
    "options",
    [
        {"treatments": named("A"), "control": "condition == 'nobody'"},
        {"perturbation_column": "type", "control": "type in ['B', 'T']"},
    ],
)
def test_nothing_to_predict_is_an_error(cells, options):
    with pytest.raises(UserError, match="nothing to predict") as error:
        plan_predictions(cells, **options)
    counts = cells["type"].value_counts().sort_index()
    if "perturbation_column" in options:
        assert f"obs['type'] holds: B ({counts['B']}), T ({counts['T']})" in str(error.value)
    else:
        assert "; obs['condition'] holds: " in str(error.value)


def test_a_row_that_qc_left_without_cells_is_said(cells, table, caplog):
    plan_predictions(cells[cells["type"] == "T"], treatments=table)
    assert "line 3: no cell that passed QC is left for A, 10" in caplog.text
    assert "line 5: no cell that passed QC is left for B" in caplog.text
