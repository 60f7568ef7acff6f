"""Splits that the user names: a query on obs, splits.toml, pairs of columns, few cells."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.data.splits.splits import Rule
from c2sflow.data.splits.state_form import StateForm, read_state_form

DRUGS = ("ctrl", "A", "B", "C")
LINES = ("K562", "Jurkat", "RPE1")


def screen(n_each=20, samples=("s",)):
    """Every drug in every cell line, in each of these samples."""
    rows = [(d, c, s) for s in samples for c in LINES for d in DRUGS for _ in range(n_each)]
    obs = pd.DataFrame(rows, columns=["drug", "line", "sample"])
    return obs.set_axis([f"cell{n}" for n in range(len(obs))])


def drug_rule(**options):
    return Rule(perturbation_column="drug", context_column="line", **options)


def settle(rule, obs):
    """The rule when all samples are known, as VALIDATE makes it."""
    keys = rule.pending(obs).dropna()
    picked = {}
    if rule.hold_out:
        chosen = rule.named_splits(obs) == "test"
        for context, control in zip(
            rule.contexts(obs)[chosen], rule.controls(obs)[chosen], strict=True
        ):
            picked[context, bool(control)] = picked.get((context, bool(control)), 0) + 1
    return rule.settled(keys.value_counts().to_dict(), picked)


def sides(obs, splits):
    """Splits of each drug and line."""
    return pd.Series(splits, obs.index).groupby([obs["drug"], obs["line"]]).agg(set)


def test_a_held_out_perturbation_leaves_control_cells_to_both_sides():
    obs = screen()
    rule = settle(drug_rule(hold_out="drug == 'A'", held_out=0.4, validation=0), obs)
    assert set(rule.partly) == set(LINES)
    found = sides(obs, rule.apply(obs))
    assert all(found["A", line] == {"test"} for line in LINES)
    assert all(found[drug, line] == {"train"} for drug in "BC" for line in LINES)
    assert all(found["ctrl", line] == {"train", "test"} for line in LINES)


def test_a_held_out_context_takes_its_control_cells_along_and_no_others():
    obs = screen()
    rule = settle(drug_rule(hold_out="line == 'K562'", validation=0), obs)
    found = sides(obs, rule.apply(obs))
    assert rule.partly == []
    assert all(found[drug, line] == ({"test"} if line == "K562" else {"train"})
               for drug in DRUGS for line in LINES)  # fmt: skip


def test_a_pair_and_a_context_at_once():
    obs = screen()
    query = "line == 'RPE1' or (drug == 'A' and line == 'K562')"
    rule = settle(drug_rule(hold_out=query, held_out=0.4, validation=0), obs)
    found = sides(obs, rule.apply(obs))
    assert rule.partly == ["K562"]
    assert found["A", "K562"] == {"test"}
    assert found["A", "Jurkat"] == found["ctrl", "Jurkat"] == {"train"}
    assert found["ctrl", "RPE1"] == {"test"}
    assert found["ctrl", "K562"] == {"train", "test"}


@given(st.integers(0, 9), st.permutations(range(len(screen(3)))), st.integers(0, 36))
def test_neither_order_nor_samples_matter_to_a_query(seed, order, cut):
    obs = screen(3)
    rule = settle(drug_rule(hold_out="drug == 'A'", held_out=0.3, validation=0.2, seed=seed), obs)
    whole = dict(zip(obs.index, rule.apply(obs), strict=True))
    for part in (obs.iloc[order[:cut]], obs.iloc[order[cut:]]):
        assert rule.apply(part).tolist() == [whole[name] for name in part.index]


@pytest.mark.parametrize("seed", range(5))
def test_pairs_of_columns_are_whole_and_their_members_are_seen_elsewhere(seed):
    obs = screen()
    rule = drug_rule(by="drug,line", held_out=0.3, validation=0.1, seed=seed)
    rule = settle(rule, obs)
    found = sides(obs, rule.apply(obs))
    pairs = found[found.index.get_level_values("drug") != "ctrl"]
    assert pairs.map(len).max() == 1
    assert set.union(*pairs) == {"train", "validation", "test"}
    held = {drug for (drug, _), own in pairs.items() if own == {"test"}}
    trained = {drug for (drug, _), own in pairs.items() if own == {"train"}}
    assert held & trained  # else it were a split by perturbation


def test_doses_of_a_perturbation_are_one_pair():
    obs = screen().assign(drug=lambda o: o["drug"].replace({"B": "A 10 uM"}))
    rule = settle(drug_rule(by="drug,line", held_out=0.3, validation=0.1), obs)
    found = sides(obs, rule.apply(obs))
    assert all(found["A", line] == found["A 10 uM", line] for line in LINES)


# ------------------------------------------------------------------ few cells


@given(st.integers(1, 30), st.integers(0, 5))
def test_a_number_of_cells_of_each_group_is_kept(few, seed):
    from c2sflow.validation.few_cells import FewCells

    obs = screen(20, ("s", "t"))
    rule = settle(drug_rule(hold_out="line == 'K562'", validation=0, seed=seed, few_shot=few), obs)
    seen = FewCells()
    whole = replace(rule, few_shot=None)
    for _, part in obs.groupby("sample"):
        seen.look_at(part, rule, pd.Series(whole.apply(part), part.index))
    rule = seen.settled(rule, str)
    found = pd.Series(rule.apply(obs), obs.index)
    trained = obs[found == "train"]
    sizes = trained.groupby(["drug", "line"]).size()
    assert all(sizes[d, c] == min(few, 40) for d in "ABC" for c in ("Jurkat", "RPE1"))
    assert sizes["ctrl", "Jurkat"] == 40  # control cells all stay
    assert seen.n_kept == min(few, 40) * 6
    assert seen.n_counted == 240
    assert set(found[obs["line"] == "K562"]) == {"test"}
    assert (found == "unused").sum() == 240 - seen.n_kept


def test_more_cells_contain_fewer():
    obs = screen(50)
    kept = {}
    for few in (0.1, 0.5):
        rule = settle(drug_rule(hold_out="line == 'K562'", validation=0, few_shot=few), obs)
        found = pd.Series(rule.apply(obs), obs.index)
        kept[few] = set(found.index[(found == "train") & (obs["drug"] != "ctrl")])
    assert kept[0.1] < kept[0.5]
    assert abs(len(kept[0.5]) - 150) < 3 * 300**0.5 / 2


# ------------------------------------------------------------------ splits.toml

STATE = """
[datasets]
replogle = "/data/replogle/"

[training]
replogle = "train"

[zeroshot]
"replogle.Jurkat" = "test"

[fewshot]

[fewshot."replogle.RPE1"]
val = ["A"]
test = ["A", "B"]  # can overlap with val
"""


def read(tmp_path, text):
    path = tmp_path / "splits.toml"
    path.write_text(text, encoding="utf-8")
    return read_state_form(path)


def test_the_example_of_cell_load(tmp_path):
    obs = screen()
    rule = drug_rule(state=read(tmp_path, STATE), held_out=0.4, validation=0)
    found = sides(obs, rule.apply(obs))
    assert all(found[drug, "Jurkat"] == {"test"} for drug in DRUGS)
    assert all(found[drug, "K562"] == {"train"} for drug in DRUGS)
    assert found["A", "RPE1"] == found["B", "RPE1"] == {"test"}  # never val and test
    assert found["C", "RPE1"] == {"train"}
    assert found["ctrl", "RPE1"] == {"train", "test"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[datasets", "no TOML file"),
        ('[zeroshot]\n"d.K562" = "test"', "does not name d"),
        ('[datasets]\nd = "x"\n[zeroshot]\n"K562" = "test"', r'K562: must be "dataset.context"'),
        ('[datasets]\nd = "x"\n[zeroshot]\nd.K562 = "test"', 'write the key in quotes: "dataset.c'),
        ('[datasets]\nd = "x"\n[zeroshot]\n"d.K562" = "hold"', "must be one of train, val, test"),
        ('[datasets]\nd = "x"\n[fewshot."d.K"]\ntrain = ["A"]', "must hold the lists val and test"),
        ('[datasets]\nd = "x"\n[fewshot."d.K"]\ntest = "A"', "test must be a list of texts"),
        ('[datasets]\nd = "x"\n[zero]\n', r"no table \[zero\] is known"),
        ('[datasets]\nd = "x"\n[zeroshot]\n"d.K" = "test"\n[fewshot."d.K"]\ntest = ["A"]',
         "both list d.K"),
    ],
)  # fmt: skip
def test_faults_of_a_file(tmp_path, text, fault):
    with pytest.raises(UserError, match=fault):
        read(tmp_path, text)


def test_several_data_sets_are_samples(tmp_path):
    text = '[datasets]\ns = "x"\nt = "y"\n[training]\ns = "train"\n[zeroshot]\n"t.K562" = "test"'
    rule = drug_rule(state=read(tmp_path, text), validation=0)
    obs = screen(5, ("s", "t"))
    found = pd.Series(rule.apply(obs), obs.index).groupby([obs["sample"], obs["line"]]).agg(set)
    assert set.union(*found["s"]) == {"train"}
    assert found["t", "K562"] == {"test"}
    assert found["t", "RPE1"] == {"unused"}  # t is not for training
    with pytest.raises(UserError, match="sample u is none of the data sets s, t"):
        rule.apply(screen(1, ("u",)))


NAMES = st.text(min_size=1, max_size=6).filter(lambda text: text.strip() == text and text)
TEXTS = st.dictionaries(NAMES, st.sampled_from(["test", "validation"]), max_size=4)


@given(
    st.dictionaries(NAMES.filter(lambda text: "." not in text), NAMES, min_size=1, max_size=3),
    st.dictionaries(NAMES, st.sampled_from(["test", "validation", "train"]), max_size=3),
    st.dictionaries(NAMES, TEXTS, max_size=3),
)
def test_what_is_written_is_read_again(tmp_path_factory, datasets, zeroshot, fewshot):
    from c2sflow.data.splits.groups import clean_label

    first = next(iter(datasets))
    fewshot = {
        context: {clean_label(name): split for name, split in own.items() if clean_label(name)}
        for context, own in fewshot.items()
        if context not in zeroshot
    }
    form = StateForm(
        datasets,
        [first],
        {first: zeroshot} if zeroshot else {},
        {first: fewshot} if fewshot else {},
        {"seed": 7, "held_out": 0.25},
    )
    path = tmp_path_factory.mktemp("toml") / "splits.toml"
    path.write_text(form.text(["a comment"]), encoding="utf-8")
    assert read_state_form(path) == form


def test_a_rule_survives_json(tmp_path):
    import json

    rule = drug_rule(state=read(tmp_path, STATE), few_shot=0.5)
    again = Rule(**json.loads(json.dumps(rule.asdict())))
    obs = screen()
    np.testing.assert_array_equal(again.apply(obs), rule.apply(obs))
