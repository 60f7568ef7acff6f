"""Which cells are perturbed with what: labels, controls, and sampling by cell."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.errors import UserError
from c2sflow.planning import plan_predictions


@pytest.fixture
def cells():
    labels = ["control", "IFNB", None, "IL6", "Control", "IFNB"] * 10
    return pd.DataFrame(
        {
            "shard": [f"s.{n // 20:05d}" for n in range(60)],
            "cell_id": [f"cell{n}" for n in range(60)],
            "sample": "s",
            "condition": labels,
        }
    )


def test_list_is_applied_to_every_control(cells):
    plan = plan_predictions(
        cells, perturbations=["A", "B"], control="condition in ['control', 'Control']"
    )
    assert len(plan) == 2 * 20
    assert set(plan["perturbation"]) == {"A", "B"}
    assert set(plan["cell_id"]) == {f"cell{n}" for n in range(60) if n % 6 in (0, 4)}


def test_column_without_control_gives_each_cell_its_own_label(cells):
    plan = plan_predictions(cells, perturbation_column="condition")
    own = dict(zip(cells["cell_id"], cells["condition"], strict=True))
    assert len(plan) == 30  # unlabelled cells and controls are left out
    assert all(own[c] == p for c, p in zip(plan["cell_id"], plan["perturbation"], strict=True))


def test_column_with_control_applies_the_other_labels(cells):
    plan = plan_predictions(
        cells, perturbation_column="condition", control="condition == 'control'"
    )
    assert plan.groupby("perturbation").size().to_dict() == {"IFNB": 10, "IL6": 10}


@given(seed=st.integers(0, 1000), order=st.integers(0, 1000), most=st.integers(1, 60))
def test_sampling_is_by_cell_not_by_position(cells_module, seed, order, most):
    cells = cells_module
    options = {"perturbations": ["A", "B"], "max_cells_per_perturbation": most, "seed": seed}
    plan = plan_predictions(cells, **options)
    assert (plan.groupby("perturbation").size() == min(most, 60)).all()
    mixed = cells.sample(frac=1, random_state=order).reset_index(drop=True)
    other = plan_predictions(mixed, **options)
    columns = ["cell_id", "perturbation"]
    assert set(map(tuple, plan[columns].to_numpy())) == set(map(tuple, other[columns].to_numpy()))


@pytest.fixture(scope="module")
def cells_module():
    return pd.DataFrame(
        {"shard": "s.00000", "cell_id": [f"cell{n}" for n in range(60)], "sample": "s"}
    )


def test_samples_of_two_perturbations_are_not_the_same_cells(cells_module):
    plan = plan_predictions(cells_module, perturbations=["A", "B"], max_cells_per_perturbation=20)
    chosen = [set(rows["cell_id"]) for _, rows in plan.groupby("perturbation")]
    assert chosen[0] != chosen[1]


def test_order_is_that_of_the_cells(cells_module):
    plan = plan_predictions(cells_module, perturbations=["B", "A"])
    position = plan["cell_id"].str.removeprefix("cell").astype(int).to_numpy()
    assert (np.diff(position) >= 0).all()
    assert plan["perturbation"].tolist()[:2] == ["A", "B"]


def test_nothing_to_predict_is_an_error(cells):
    with pytest.raises(UserError, match="nothing to predict"):
        plan_predictions(cells, perturbations=["A"], control="condition == 'nobody'")
