"""What tasks are asked, and that an epoch asks for every cell in its turn."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.training.tasks import Epochs, label_weights, other_label, parse_tasks, usable_cells

LABELS = pd.Series(["B"] * 16 + ["T"] * 4 + [None] * 4)


def test_shares_add_up():
    assert parse_tasks("cell_type") == {"cell_type": 1.0}
    assert parse_tasks(" cell_type : 1, perturbation:3,") == {
        "cell_type": 0.25,
        "perturbation": 0.75,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell_typ", "no task 'cell_typ'; there are cell_type, generation"),
        ("cell_type,cell_type:2", "cell_type is named twice"),
        ("cell_type:0", "weight of cell_type must be a number above 0"),
        ("cell_type:inf", "must be a number"),
        ("cell_type:much", "must be a number"),
        (" , ", "names no task"),
    ],
)
def test_faulty_tasks_are_told(text, message):
    with pytest.raises(UserError, match=message):
        parse_tasks(text)


def test_each_task_has_the_cells_it_can_ask_for():
    tasks = parse_tasks("cell_type,generation,perturbation,conversion")
    perturbed = np.arange(24) % 3 == 0
    rows = usable_cells(tasks, pd.DataFrame({"label": LABELS}), "label", perturbed)
    assert {task: len(found) for task, found in rows.items()} == {
        "cell_type": 20, "generation": 24, "perturbation": 8, "conversion": 20,
    }  # fmt: skip
    one = usable_cells(tasks, pd.DataFrame({"label": ["B"] * 24}), "label", perturbed & False)
    assert set(one) == {"cell_type", "generation"}


@given(
    st.dictionaries(
        st.sampled_from(["cell_type", "generation", "perturbation"]),
        st.tuples(st.floats(0.1, 10), st.sets(st.integers(0, 40), min_size=1)),
        min_size=1,
    ),
    st.integers(0, 2**31),
    st.integers(1, 60),
)
def test_an_epoch_asks_for_every_cell_in_its_turn(tasks, seed, size):
    rows = {name: np.array(sorted(cells)) for name, (_, cells) in tasks.items()}
    shares = {name: share for name, (share, _) in tasks.items()}
    epochs, again = (Epochs(rows, shares, {}, seed, None, size) for _ in range(2))
    drawn = [epochs[number] for number in range(2 * size)]
    # By chance, but the same whatever was asked for before.
    assert [again[number] for number in reversed(range(2 * size))] == drawn[::-1]
    for epoch in (drawn[:size], drawn[size:]):
        for name, own in rows.items():
            asked = Counter(draw.cell for draw in epoch if draw.task == name)
            count = asked.total()
            assert abs(count - size * shares[name] / sum(shares.values())) < 1
            assert set(asked) <= set(own.tolist())
            assert count == 0 or max(asked.values()) <= -(-count // own.size)
            assert count < own.size or min(asked.get(cell, 0) for cell in own) >= count // own.size
    assert [draw.number for draw in drawn] == list(range(2 * size))
    for name, own in rows.items():  # also through both epochs
        asked = Counter(draw.cell for draw in drawn if draw.task == name)
        times = [asked.get(cell, 0) for cell in own.tolist()]
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize(
    ("tasks", "n_epochs"),
    [
        ({"cell_type": 1, "generation": 1, "conversion": 1}, 3),
        ({"cell_type": 1, "generation": 3}, 4),
        ({"perturbation": 1, "generation": 2}, 2),
    ],
)
def test_no_cell_is_left_out_of_a_training_of_several_tasks(tasks, n_epochs):
    """A third of them was never asked for; now each is, in each task, before one is again."""
    rows = {name: np.arange(600) for name in tasks}
    rows |= {"perturbation": np.arange(0, 600, 2)} if "perturbation" in tasks else {}
    epochs = Epochs(rows, tasks, {}, 0, None, 600)
    assert len({epochs[number].cell for number in range(600)}) == 600  # of the first epoch alone
    drawn = [epochs[number] for number in range(600 * n_epochs)]
    for name, own in rows.items():
        assert {draw.cell for draw in drawn if draw.task == name} == set(own.tolist())
    for epoch in range(n_epochs):
        some = {draw.cell for draw in drawn[600 * epoch : 600 * (epoch + 1)]}
        assert len(some) > 480  # drawn without regard to each other: 422


def test_labels_are_drawn_by_the_square_root_of_how_common_they_are():
    weights = label_weights(LABELS)
    epochs = Epochs({"generation": np.arange(24)}, {"generation": 1}, {}, 0, weights, 20_000)
    drawn = Counter(LABELS.fillna("none")[epochs[n].cell] for n in range(20_000))
    for label, share in (("B", 4 / 8), ("T", 2 / 8), ("none", 2 / 8)):
        assert drawn[label] / 20_000 == pytest.approx(share, abs=0.02)


def test_conversion_comes_from_every_cell_of_another_label():
    sources = other_label(LABELS)(np.random.default_rng(0), np.arange(20).repeat(100))
    asked = LABELS[np.arange(20).repeat(100)].to_numpy()
    assert (LABELS[sources].to_numpy() != asked).all()
    assert set(sources) == set(range(20))
