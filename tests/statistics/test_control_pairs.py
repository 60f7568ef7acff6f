"""Pairs of control and perturbed cell: the effect that they leave to learn, and what they join."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from c2sflow.training.cells import TrainingCells
from c2sflow.training.material import make_epochs
from c2sflow.training.options import TrainingOptions
from c2sflow.training.pairing import Assignment, Pairing


def effect_left(n_controls, n_perturbed, size, n_dims, n_epochs=8, seed=0):
    """Share of a known effect in the mean difference of the pairs."""
    rng = np.random.default_rng(seed)
    effect = np.full(n_dims, size / n_dims**0.5)
    vectors = rng.normal(size=(n_controls + n_perturbed, n_dims))
    control = np.arange(len(vectors)) < n_controls
    # States of both kinds of cells, which pairing is to match, and then the effect alone.
    vectors[control] -= vectors[control].mean(axis=0)
    vectors[~control] += effect - vectors[~control].mean(axis=0)
    conditions = pd.Series(np.where(control, "control", "drug"))
    pairs = Assignment(control, None, conditions, vectors.astype(np.float32))
    cells = np.flatnonzero(~control)
    found = [
        (vectors[cells] - vectors[pairs(np.random.default_rng(epoch), cells)]).mean(axis=0)
        for epoch in range(n_epochs)
    ]
    return float(np.mean(found, axis=0) @ effect / (effect @ effect))


@pytest.mark.parametrize(
    ("n_controls", "n_perturbed", "size", "n_dims"),
    [(5000, 200, 2.0, 2), (5000, 200, 2.0, 10), (1000, 300, 1.5, 5), (200, 300, 1.0, 5)],
)
def test_the_assignment_leaves_the_effect_to_be_learnt(n_controls, n_perturbed, size, n_dims):
    """The nearest of many controls had 0.19 of it."""
    left = effect_left(n_controls, n_perturbed, size, n_dims)
    assert 0.95 <= left <= 1.05


def test_the_assignment_still_pairs_like_with_like():
    """Pairs keep the cells' own states, which random pairs do not."""
    rng = np.random.default_rng(1)
    states = rng.normal(size=(600, 2)) * 3
    control = np.arange(600) < 300
    vectors = states + np.where(control, 0.0, 1.0)[:, None]
    cells = np.flatnonzero(~control)
    conditions = pd.Series(np.where(control, "control", "drug"))
    assigned = Assignment(control, None, conditions, vectors.astype(np.float32))
    same = {
        name: np.corrcoef(states[cells, 0], states[pairs(rng, cells), 0])[0, 1]
        for name, pairs in (("assigned", assigned), ("random", Pairing(control)))
    }
    assert same["assigned"] > 0.95
    assert abs(same["random"]) < 0.2


def cells_of(n=400, seed=0, **columns):
    """Cells of two organisms and two donors, half of them control cells."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "cell_id": [f"c{number}" for number in range(n)],
            "sample": "s",
            "organism": rng.choice(["human", "mouse"], n),
            "donor": rng.choice(["d1", "d2"], n),
            "label": rng.choice(["B", "T"], n),
            "drug": rng.choice(["control", "IFN", "TNF"], n, p=[0.5, 0.25, 0.25]),
            "n_genes": 2,
            **columns,
        }
    )
    return TrainingCells(obs, pa.array(["A B"] * n, pa.large_string()))


def pairs_of(cells, task="perturbation", n_epochs=4, place=None, **options):
    options = {"label_column": "label", "perturbation_column": "drug", **options}
    epochs, warnings = make_epochs(cells, TrainingOptions(task, **options), place=place)
    draws = [epochs[number] for number in range(n_epochs * epochs.n_examples)]
    return (
        cells.obs.loc[[d.source for d in draws]],
        cells.obs.loc[[d.cell for d in draws]],
        warnings,
    )


def place_by_noise(_, rows):
    return np.random.default_rng(3).normal(size=(rows.size, 2)).astype(np.float32)


@pytest.mark.parametrize("place", [None, place_by_noise])
@pytest.mark.parametrize("label_column", ["label", None])
def test_pairs_are_of_one_organism_and_one_donor(place, label_column):
    source, cell, warnings = pairs_of(
        cells_of(), place=place, label_column=label_column, replicate_column="donor"
    )
    for column in ("organism", "donor", *filter(None, [label_column])):
        assert (source[column].to_numpy() == cell[column].to_numpy()).all(), column
    assert (source["drug"] == "control").all()
    assert warnings == []


def test_by_default_pairs_are_of_one_sample():
    samples = np.random.default_rng(4).choice(["s1", "s2"], 400)
    source, cell, warnings = pairs_of(cells_of(sample=samples))
    assert (source["sample"].to_numpy() == cell["sample"].to_numpy()).all()
    assert warnings == []


def test_where_a_donor_has_no_controls_others_stand_in_with_a_warning():
    cells = cells_of()
    cells.obs.loc[cells.obs["donor"] == "d2", "drug"] = "IFN"
    source, cell, warnings = pairs_of(cells, replicate_column="donor")
    n, of = (cells.obs["donor"] == "d2").sum(), (cells.obs["drug"] != "control").sum()
    assert warnings == [
        f"{n} of {of} perturbed cells have no control cell of their donor: theirs are of others, "
        "and what differs between the groups of donor is learned as if the perturbation caused it"
    ]
    assert (source["organism"].to_numpy() == cell["organism"].to_numpy()).all()
    own = cell["donor"].to_numpy() == "d1"
    assert (source["donor"].to_numpy()[own] == "d1").all()
    assert set(cell["donor"]) == {"d1", "d2"}


def test_an_organism_without_controls_is_left_out():
    cells = cells_of()
    cells.obs.loc[cells.obs["organism"] == "mouse", "drug"] = "IFN"
    _, cell, warnings = pairs_of(cells, replicate_column="donor")
    assert set(cell["organism"]) == {"human"}
    assert warnings == [
        f"{(cells.obs['organism'] == 'mouse').sum()} perturbed cells have no control cell of "
        "their label"
    ]


def test_a_conversion_is_within_an_organism_and_a_donor():
    cells = cells_of()
    cells.obs.loc[cells.obs["organism"] == "mouse", "label"] = "B"  # no other label there
    source, cell, _ = pairs_of(cells, "conversion", replicate_column="donor")
    assert (source["label"].to_numpy() != cell["label"].to_numpy()).all()
    for column in ("organism", "donor"):
        assert (source[column].to_numpy() == cell[column].to_numpy()).all(), column
    assert set(cell["organism"]) == {"human"}
