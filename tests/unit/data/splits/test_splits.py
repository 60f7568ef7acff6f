"""Splits: a cell's own whatever its shard, groups whole, shares near to those asked for."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.data.splits.groups import assign_groups, clean_label, dose_series, parts_of
from c2sflow.data.splits.splits import Rule


def obs_of(n_cells=2000, sample="s", **columns):
    return pd.DataFrame(
        {"sample": [sample] * n_cells, **columns}, index=[f"cell{n}" for n in range(n_cells)]
    )


def test_by_cell_the_shares_are_those_asked_for():
    found = Counter(Rule(held_out=0.2, validation=0.05).apply(obs_of(20_000)))
    # Three standard deviations of the binomial.
    assert abs(found["test"] - 4000) < 170
    assert abs(found["validation"] - 1000) < 93
    assert found.total() == found["train"] + found["test"] + found["validation"]


@given(st.permutations(range(40)), st.integers(0, 40), st.integers(0, 9), st.floats(0.05, 0.5))
def test_by_cell_neither_order_nor_shards_matter(order, cut, seed, held_out):
    obs = obs_of(40)
    rule = Rule(held_out=held_out, seed=seed)
    whole = dict(zip(obs.index, rule.apply(obs), strict=True))
    for part in (obs.iloc[order[:cut]], obs.iloc[order[cut:]]):
        assert rule.apply(part).tolist() == [whole[name] for name in part.index]


def test_another_sample_or_seed_is_another_split():
    one = Rule().apply(obs_of())
    assert (one != Rule().apply(obs_of(sample="t"))).any()
    assert (one != Rule(seed=7).apply(obs_of())).any()


def test_more_cells_held_out_keep_those_that_were():
    few, many = (Rule(held_out=share).apply(obs_of()) for share in (0.1, 0.3))
    assert set(np.flatnonzero(few == "test")) < set(np.flatnonzero(many == "test"))


# Without those that differ in case or white space at an end only: they are one group.
NAMES = st.text(max_size=5).map(lambda text: clean_label(f"d{text}").casefold())
GROUPS = st.dictionaries(NAMES, st.integers(1, 1000), min_size=3)


@given(GROUPS, st.floats(0.01, 0.5), st.floats(0.01, 0.3), st.integers(0, 9))
def test_groups_are_whole_and_every_split_has_one(sizes, held_out, validation, seed):
    splits = assign_groups(sizes, held_out, validation, seed)
    assert splits.keys() == sizes.keys()
    assert set(splits.values()) == {"train", "validation", "test"}
    again = dict(reversed(sizes.items()))
    assert assign_groups(again, held_out, validation, seed) == splits
    names = list(sizes)
    obs = obs_of(len(names) * 2, donor=names * 2)
    rule = Rule(by="donor", held_out=held_out, validation=validation, seed=seed).with_groups(sizes)
    assert rule.apply(obs).tolist() == [splits[name] for name in obs["donor"]]


@given(st.lists(st.integers(50, 150), min_size=30, max_size=60), st.integers(0, 9))
def test_with_many_groups_the_shares_come_near(sizes, seed):
    named = {f"donor {n}": size for n, size in enumerate(sizes)}
    splits = assign_groups(named, 0.2, 0.1, seed)
    held = sum(size for name, size in named.items() if splits[name] == "test")
    stopping = sum(size for name, size in named.items() if splits[name] == "validation")
    # Within half of the largest group.
    assert abs(held - 0.2 * sum(sizes)) <= 75
    assert abs(stopping - 0.1 * sum(sizes)) <= 75


def test_the_largest_group_is_for_training():
    for seed in range(20):
        splits = assign_groups({"a": 900, "b": 50, "c": 50}, 0.4, 0.05, seed)
        assert splits["a"] == "train"


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_groups(n):
    with pytest.raises(UserError, match=rf"{n} groups .* for 3 splits \(train, validation, test\)"):
        assign_groups({f"d{i}": 5 for i in range(n)}, 0.2, 0.1, 0)


def test_two_groups_do_without_validation():
    assert sorted(assign_groups({"a": 5, "b": 5}, 0.5, 0, 0).values()) == ["test", "train"]


def test_perturbations_are_whole_and_their_controls_split_by_cell():
    names = ["ctrl", "A", "B", "C", None, "other control"]
    obs = obs_of(6000, perturbation=names * 1000)
    rule = Rule(
        by="perturbation",
        perturbation_column="perturbation",
        control="perturbation == 'other control'",
        held_out=0.3,
        validation=0.1,
    )
    labels = rule.group_labels(obs)
    assert set(labels.dropna()) == {"A", "B", "C"}
    found = pd.Series(rule.with_groups(labels.value_counts().to_dict()).apply(obs), obs.index)
    by_label = found.groupby(obs["perturbation"].to_numpy(), dropna=False).agg(set)
    assert sorted(map(sorted, by_label[["A", "B", "C"]])) == [["test"], ["train"], ["validation"]]
    assert by_label["ctrl"] == by_label["other control"] == {"train", "validation", "test"}
    assert found[obs["perturbation"].isna()].unique().tolist() == ["unused"]
    by_cell = Rule(held_out=0.3, validation=0.1).apply(obs)
    assert found[::6].tolist() == by_cell[::6].tolist()


def test_cells_without_a_group_are_not_used():
    obs = obs_of(8, donor=["a", "b", "c", "", "NA", None, " ", "a"])
    rule = Rule(by="donor")
    rule = rule.with_groups(rule.group_labels(obs).value_counts().to_dict())
    assert rule.apply(obs)[3:7].tolist() == ["unused"] * 4
    assert "unused" not in rule.apply(obs)[[0, 1, 2, 7]]


def test_own_column():
    obs = obs_of(5, split=pd.Categorical(["train", "test", None, "validation", "train"]))
    assert Rule(column="split").apply(obs).tolist() == [
        "train", "test", "unused", "validation", "train",
    ]  # fmt: skip
    with pytest.raises(UserError, match="--split_column split: holds 'val'; use train"):
        Rule(column="split").apply(obs_of(1, split=["val"]))
    with pytest.raises(UserError, match=r"--split_column split: obs has no such column \(has sam"):
        Rule(column="split").apply(obs_of(1))
    with pytest.raises(UserError, match="--split_by donor: obs has no such column"):
        Rule(by="donor").apply(obs_of(1))


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("A ", {"a"}), ("A+B", {"a", "b"}), ("B &  a", {"a", "b"}), ("A, B", {"a", "b"}),
        ("A;B|C", {"a", "b", "c"}), ("A and B", {"a", "b"}), ("A+ctrl", {"a"}),
        ("A 10 uM", {"a"}), ("A (0.1 µM)", {"a"}), ("A_24h", {"a"}), ("A_10", {"a_10"}),
        ("A-100nM + B 5 ng/ml", {"a", "b"}),
        ("IL-2", {"il-2"}), ("HLA-D", {"hla-d"}), ("PD-1", {"pd-1"}), ("(+)-JQ1", {"(+)-jq1"}),
        ("1,2-dichloroethane", {"1,2-dichloroethane"}), ("5% CO2", {"5% co2"}),
    ],
)  # fmt: skip
def test_parts_of_a_perturbation(label, parts):
    assert parts_of(label) == parts


def test_numbers_that_are_doses():
    doses, open_ = dose_series(["a", "a_10", "b_10", "b_100", "c_1", "c_2", "il-2", "d 0.5", "d 1"])
    assert doses == {"a_10": "a", "b_10": "b", "b_100": "b", "d 0.5": "d", "d 1": "d"}
    assert open_ == {"c": ["c_1", "c_2"]}


DRUGS = ["A", "A ", "a", "A+B", "B+A", "A_10", "A 10 uM", "A (100 nM)", "A_B", "A+ctrl", "A+B+C"]
OTHERS = ["B", "C", "D", "B+C", "C_D", "AB", "E-A", "F", "G", "H", "I", "K"]


def drug_rule(labels, **options):
    obs = obs_of(len(labels) * 20, drug=labels * 20)
    rule = Rule(by="drug", perturbation_column="drug", held_out=0.2, validation=0.1, **options)
    return rule.with_groups(rule.group_labels(obs).value_counts().to_dict()), obs


@pytest.mark.parametrize("seed", range(30))
def test_nothing_of_a_held_out_drug_trains(seed):
    """Spelt otherwise, at another dose, in a combination."""
    rule, obs = drug_rule(DRUGS + OTHERS, seed=seed)
    found = pd.Series(rule.apply(obs)).groupby(obs["drug"].to_numpy()).agg(set)
    assert found.map(len).max() == 1
    split = found.map(lambda own: next(iter(own)))
    assert set(split) == {"train", "validation", "test"}
    rank = {"train": 0, "validation": 1, "test": 2}
    for name in ("A", "B", "C", "D"):
        for label in split.index:
            if parts_of(name) <= parts_of(label) or (name == "A" and label in DRUGS):
                assert rank[split[label]] >= rank[split[name]], (name, label)
    assert {
        split[label] for label in ("A", "A ", "a", "A_10", "A 10 uM", "A (100 nM)", "A+ctrl")
    } == {split["A"]}
    assert split["A+B"] == split["B+A"]


def test_shares_are_met_with_what_is_held_out_along():
    """Of all pairs of 12 drugs, a fifth of the drugs would bring a third of the cells."""
    drugs = [f"D{chr(65 + n)}" for n in range(12)]
    labels = drugs + [f"{a}+{b}" for n, a in enumerate(drugs) for b in drugs[:n]]
    for seed in range(10):
        rule, obs = drug_rule(labels, seed=seed)
        shares = Counter(rule.apply(obs))
        assert 0.1 <= shares["test"] / len(obs) <= 0.3
        assert shares["train"] / len(obs) >= 0.55


def test_combinations_can_be_groups_of_their_own():
    labels = ["A", "a ", "A 10 nM", "B", "C", "A+B", "B+A", "A+C", "B+C", *["D"] * 4]
    held = set()
    for seed in range(40):
        rule, obs = drug_rule(labels, seed=seed, combinations=False)
        split = dict(zip(obs["drug"], rule.apply(obs), strict=True))
        assert split["A"] == split["a "] == split["A 10 nM"]
        assert split["A+B"] == split["B+A"]
        held |= {(split["A"], split["A+B"])}
    assert ("test", "train") in held


def test_labels_that_may_be_doses_are_told():
    rule, obs = drug_rule(["x_1", "x_2", "x_3", "y_10", "y_100", "z"])
    (line,) = rule.doubts(obs["drug"].unique())
    assert "x_1, x_2, x_3 differ in a last number only and are taken as different" in line
    split = dict(zip(obs["drug"], rule.apply(obs), strict=True))
    assert split["y_10"] == split["y_100"]


def test_donors_are_whole_however_they_are_spelt():
    obs = obs_of(600, donor=["d1", "D1 ", "d2", "d3", "d4+d1", "d5"] * 100)
    rule = Rule(by="donor", held_out=0.3, validation=0.2)
    rule = rule.with_groups(rule.group_labels(obs).value_counts().to_dict())
    split = dict(zip(obs["donor"], rule.apply(obs), strict=True))
    assert split["d1"] == split["D1 "]
