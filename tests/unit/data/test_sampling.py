"""Which cells get an attention map: equal shares, by cell and not by position."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.data.sampling import (
    CELLS_OF_A_TASK,
    Draws,
    attention_tasks,
    choose_cells,
    equal_shares,
    mixed,
)
from c2sflow.steps.choose import main

LABELS = ["T", "B", None, "T", "T", "NK"]  # of 90: 45 T, 15 B, 15 NK, 15 without


@pytest.fixture(scope="module")
def cells():
    return pd.DataFrame(
        {
            "shard": [f"s{n // 60}.{n % 60 // 25:05d}" for n in range(90)],
            "cell_id": [f"cell{n}" for n in range(90)],
            "sample": [f"s{n // 60}" for n in range(90)],
            "type": pd.Categorical(LABELS * 15),
        }
    )


def counts(chosen):
    return chosen["label"].value_counts().to_dict()


def test_mixed_is_splitmix64():
    """The first outputs for the seed 1234567, as Vigna's splitmix64.c gives them."""
    states = np.uint64(1234567) + np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mixed(states).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423,
    ]  # fmt: skip


def test_equal_hashes_are_drawn_by_name(cells):
    """Whatever the order of the cells."""
    for rows in (np.arange(90), np.arange(90)[::-1]):
        draws = Draws(cells.iloc[rows], 1)
        draws._hashes = np.zeros(90, np.uint64)
        names = cells["cell_id"].to_numpy()[rows]
        first = sorted(zip(cells["sample"].to_numpy()[rows], names, strict=True))[:7]
        chosen = draws.lowest(np.arange(90), 7, "x")
        assert sorted(names[chosen]) == sorted(name for _, name in first)


@given(total=st.integers(0, 60), sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_shares_are_those_of_dealing_one_by_one(total, sizes):
    groups = {f"g{n}": size for n, size in enumerate(sizes)}
    dealt = dict.fromkeys(groups, 0)
    for _ in range(min(total, sum(sizes))):  # to whom has fewest, the largest group first
        room = [name for name in groups if dealt[name] < groups[name]]
        dealt[max(room, key=lambda name: (-dealt[name], groups[name], name))] += 1
    assert equal_shares(total, groups) == dealt


def test_labels_share_equally(cells):
    assert counts(choose_cells(cells, 12, label_column="type")) == {"T": 4, "B": 4, "NK": 4}
    assert counts(choose_cells(cells, 60, label_column="type")) == {"T": 30, "B": 15, "NK": 15}
    everything = choose_cells(cells, 1000, label_column="type")
    assert everything["cell_id"].tolist() == cells["cell_id"][cells["type"].notna()].tolist()


def test_without_labels_the_samples_share(cells):
    chosen = choose_cells(cells, 11)
    assert counts(chosen) == {"s0": 6, "s1": 5}
    assert all(shard.startswith(label) for shard, label in chosen[["shard", "label"]].to_numpy())


def test_fewer_cells_than_labels_go_to_the_largest_and_it_is_said(cells, caplog):
    assert counts(choose_cells(cells, 1, label_column="type")) == {"T": 1}
    assert "2 labels get no map: use --attention_maps 3 for one map per label" in caplog.text


@given(seed=st.integers(0, 99), order=st.integers(0, 99), n=st.integers(1, 90), size=st.integers(1))
def test_choice_is_by_cell_not_by_position_or_shard(cells, seed, order, n, size):
    chosen = choose_cells(cells, n, label_column="type", seed=seed)
    mixed = cells.sample(frac=1, random_state=order).reset_index(drop=True)
    mixed["shard"] = [f"x.{row // size}" for row in range(len(mixed))]
    other = choose_cells(mixed, n, label_column="type", seed=seed)
    assert set(other["cell_id"]) == set(chosen["cell_id"])
    more = choose_cells(cells, n + 1, label_column="type", seed=seed)
    assert set(more["cell_id"]) >= set(chosen["cell_id"])


def test_seeds_choose_other_cells(cells):
    one, two = (set(choose_cells(cells, 9, seed=seed)["cell_id"]) for seed in (1, 2))
    assert one != two


def test_labels_of_any_type_are_text(cells):
    chosen = choose_cells(cells.assign(type=[1, 2] * 45), 4, label_column="type")
    assert set(chosen["label"]) == {"1", "2"}


def test_no_label_at_all_is_an_error(cells):
    with pytest.raises(UserError, match="no cell that passed QC has a label in --label_column typ"):
        choose_cells(cells.assign(type=None), 4, label_column="type")


@given(sizes=st.lists(st.integers(1, 2 * CELLS_OF_A_TASK), min_size=1), order=st.randoms())
def test_neighbouring_shards_share_a_task_as_far_as_their_cells_fit(sizes, order):
    shards = [f"s.{n:05d}" for n, size in enumerate(sizes) for _ in range(size)]
    order.shuffle(shards)
    tasks = attention_tasks(shards)
    assert list(tasks) == sorted(set(shards))
    members = {task: [s for s, own in tasks.items() if own == task] for task in tasks.values()}
    assert list(members) == sorted(members) == [f"attention.{n:05d}" for n in range(len(members))]
    assert [shard for own in members.values() for shard in own] == list(tasks)
    cells = [[sizes[int(shard[2:])] for shard in own] for own in members.values()]
    assert all(sum(own) <= CELLS_OF_A_TASK or len(own) == 1 for own in cells)
    # No task is begun that the one before had room for
    assert all(sum(own) + after[0] > CELLS_OF_A_TASK for own, after in pairwise(cells))


@pytest.mark.parametrize(("column", "n_labels"), [("type", 3), ("sample", 2)])
def test_script_writes_a_table_for_each_shard_in_the_folder_of_its_task(
    cells, tmp_path, column, n_labels
):
    for sample, rows in cells.groupby("sample"):
        rows.to_parquet(tmp_path / f"{sample}.obs.parquet")
    arguments = [f"--cells-dir={tmp_path}", f"--outdir={tmp_path}", f"--label-column={column}"]
    CliRunner().invoke(main, [*arguments, "--attention-maps=30"], catch_exceptions=False)
    tables = {
        path.name.removesuffix(".chosen.parquet"): pd.read_parquet(path)
        for path in (tmp_path / "chosen").glob("*/*")
    }
    assert all((rows["shard"] == shard).all() for shard, rows in tables.items())
    chosen = pd.concat([tables[shard] for shard in sorted(tables)])
    folders = {
        path.stem[: -len(".chosen")]: path.parent.name for path in tmp_path.glob("chosen/*/*")
    }
    assert folders == attention_tasks(chosen["shard"])
    assert len(set(folders.values())) > 1
    assert len(chosen) == 30
    assert chosen["label"].nunique() == n_labels
    shard_of = cells.set_index("cell_id")["shard"]
    assert chosen["shard"].tolist() == shard_of[chosen["cell_id"]].tolist()
