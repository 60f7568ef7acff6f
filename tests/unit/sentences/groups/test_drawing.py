"""Groups of cells: each cell in one at most, the same whatever the order of the cells."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.sentences.groups.drawing import (
    NEIGHBOURS,
    Grouping,
    describe_groups,
    draw_groups,
    group_sizes,
)


def cells_of(n_cells, seed=0):
    """Cells of two samples, the names of which repeat; some without a donor, some without genes."""
    random = np.random.default_rng(seed)
    half = n_cells // 2
    return pd.DataFrame(
        {
            "cell_id": [f"c{n}" for n in range(half)] + [f"c{n}" for n in range(n_cells - half)],
            "sample": ["a"] * half + ["b"] * (n_cells - half),
            "donor": random.choice(["d1", "d2", None], n_cells, p=[0.6, 0.3, 0.1]),
            "n_sentence_genes": random.integers(0, 8, n_cells),
        }
    )


def sets_of(cells, groups):
    """The groups as lists of (sample, cell), in the order of their numbers."""
    names = list(zip(cells["sample"], cells["cell_id"], strict=True))
    members = np.split(groups.order, groups.starts[1:])
    return [[names[row] for row in rows] for rows in members if len(rows)]


@given(
    n_cells=st.integers(0, 80), most=st.integers(1, 9), across=st.booleans(),
    by=st.sampled_from(["sample", "donor"]), shuffle=st.integers(0, 5),
)  # fmt: skip
def test_every_cell_once_and_order_changes_nothing(n_cells, most, across, by, shuffle):
    cells = cells_of(n_cells)
    grouping = Grouping(most, by, across, seed=3)
    groups = draw_groups(cells, grouping)
    assert len(set(groups.order.tolist())) == len(groups.order) == groups.sizes.sum()
    assert len(groups.order) + groups.without_value + groups.without_genes == n_cells
    usable = (cells["n_sentence_genes"] > 0) & (cells["donor"].notna() | (by == "sample"))
    assert set(groups.order.tolist()) == set(np.flatnonzero(usable))
    for rows in np.split(groups.order, groups.starts[1:]):
        assert len(rows) <= most
        assert across or cells["sample"].iloc[rows].nunique() <= 1
        assert (by == "sample" and across) or cells[by].iloc[rows].nunique() <= 1
    mixed = cells.sample(frac=1, random_state=shuffle).reset_index(drop=True)
    assert sets_of(mixed, draw_groups(mixed, grouping)) == sets_of(cells, groups)


def test_another_seed_brings_others_together():
    cells = cells_of(60)
    drawn = [sets_of(cells, draw_groups(cells, Grouping(4, seed=seed))) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert {frozenset(own) for own in drawn[0]} != {frozenset(own) for own in drawn[2]}


@given(n_cells=st.integers(0, 500), most=st.integers(1, 60))
def test_no_group_is_much_smaller_than_another(n_cells, most):
    sizes = group_sizes(n_cells, most)
    assert sizes.sum() == n_cells
    assert len(sizes) == -(-n_cells // most)
    assert not len(sizes) or sizes.max() - sizes.min() <= 1
    assert not len(sizes) or sizes.max() <= most


def test_across_samples_only_if_asked():
    cells = cells_of(60).assign(n_sentence_genes=3)
    own = [draw_groups(cells, Grouping(10, "sample", across)) for across in (False, True)]
    several = [
        sum(cells["sample"].iloc[rows].nunique() > 1 for rows in np.split(g.order, g.starts[1:]))
        for g in own
    ]
    assert several[0] == 0
    # By donor, cells of both samples share groups; by sample there is nothing to cross.
    by_donor = draw_groups(cells, Grouping(10, "donor", True))
    mixed = [cells.iloc[rows] for rows in np.split(by_donor.order, by_donor.starts[1:])]
    assert any(rows["sample"].nunique() > 1 for rows in mixed)
    assert all(rows["donor"].nunique() == 1 for rows in mixed)


def test_what_is_left_over_is_reported():
    cells = cells_of(12).assign(
        donor=[*"aaaaa", None, *"ccccc", "d"], n_sentence_genes=[0] + [2] * 11
    )
    grouping = Grouping(4, "donor", across_samples=True)
    figures, lines = describe_groups(draw_groups(cells, grouping), grouping)
    assert figures == {
        "n_groups": 4, "n_grouped": 10, "sizes": {1: 1, 2: 1, 3: 1, 4: 1},
        "without_value": 1, "without_genes": 1,
    }  # fmt: skip
    assert len(lines) == 3
    assert lines[0].startswith("1 cells have no value in --group_by donor")


@pytest.fixture(scope="module")
def points(pbmc):
    return np.asarray(pbmc.obsm["X_pca"])[:, :20]


def test_neighbours_are_nearer_than_cells_drawn_at_random(pbmc, points):
    cells = pd.DataFrame({"cell_id": pbmc.obs_names, "sample": "s", "n_sentence_genes": 5}).assign(
        label=pbmc.obs["bulk_labels"].astype(str).to_numpy()
    )
    spreads, purities = [], []
    for by, own in [(NEIGHBOURS, points), ("sample", None)]:
        groups = draw_groups(cells, Grouping(5, by), own)
        assert groups.sizes.tolist() == [5] * 140
        members = groups.order.reshape(140, 5)
        assert len(np.unique(members)) == 700
        spreads.append(points[members].var(axis=1).sum(axis=1).mean())
        labels = cells["label"].to_numpy()[members]
        purities.append((labels == labels[:, :1])[:, 1:].mean())
    assert spreads[0] < 0.5 * spreads[1]
    assert purities[0] > purities[1] + 0.3


@given(shuffle=st.integers(0, 4))
def test_neighbours_do_not_depend_on_the_order_of_the_cells(points, shuffle):
    cells = cells_of(60).assign(n_sentence_genes=1)
    own = points[:60]
    order = np.random.default_rng(shuffle).permutation(60)
    one = sets_of(cells, draw_groups(cells, Grouping(4, NEIGHBOURS), own))
    mixed = cells.iloc[order].reset_index(drop=True)
    other = sets_of(mixed, draw_groups(mixed, Grouping(4, NEIGHBOURS), own[order]))
    assert {frozenset(group) for group in one} == {frozenset(group) for group in other}


@given(st.integers(0, 80), st.integers(2, 9), st.booleans(), st.integers(0, 5))
def test_no_group_is_of_trained_and_held_out_cells(n_cells, most, across, seed):
    cells = cells_of(n_cells)
    random = np.random.default_rng(seed)
    cells["c2s_split"] = random.choice(["train", "validation", "test", "unused"], n_cells)
    groups = draw_groups(cells, Grouping(most, "sample", across, seed=3))
    splits = cells["c2s_split"].iloc[groups.order].groupby(groups.numbers()).nunique()
    assert splits.empty or splits.max() == 1
    assert len(groups.order) + groups.without_genes == n_cells
