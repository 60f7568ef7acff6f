"""Splits that the user names, in VALIDATE: what leaks is refused, all of it together."""

import logging

import numpy as np
import pandas as pd
import pytest
from making import cells
from steps_in_process import INPUT_SCHEMA, SCHEMA

from c2sflow.common.errors import UserError
from c2sflow.data.splits.splits import Rule
from c2sflow.validation.run import Staged, validate_run

N = 240


def screen(seed=0):
    data = cells(N, seed=seed)
    random = np.random.default_rng(seed)
    data.obs["drug"] = random.choice(["ctrl", "A", "B", "C"], N)
    data.obs["line"] = random.choice(["K562", "Jurkat", "RPE1"], N)
    data.obs["pool"] = np.where(data.obs["line"] == "K562", "p1", "p2")
    data.obs["mixed"] = random.choice(["m1", "m2"], N)
    data.obs["own"] = np.where(data.obs["line"] == "K562", "test", "train")
    return data


@pytest.fixture(scope="module")
def data():
    return {"a": screen(0), "b": screen(1)}


@pytest.fixture
def validate(tmp_path):
    def run(samples, toml=None, **params):
        paths = []
        for name, sample in samples.items():
            sample.write_h5ad(tmp_path / f"{name}.h5ad")
            paths.append(str(tmp_path / f"{name}.h5ad"))
        sheet = tmp_path / "sheet.csv"
        sheet.write_text("sample,path\n" + "".join(f"{n},{n}.h5ad\n" for n in samples))
        file = tmp_path / "splits.toml"
        if toml is not None:
            file.write_text(toml)
            params["splits"] = str(file)
        asked = {
            "input": "sheet.csv", "min_genes": 1, "finetune": "perturbation", "validation": 0.1,
            "measured_column": "drug", "context_column": "line", **params,
        }  # fmt: skip
        staged = Staged(paths, sheet, splits_file=file if toml is not None else None)
        return validate_run(asked, staged, SCHEMA, INPUT_SCHEMA)[0]

    return run


@pytest.mark.parametrize(
    "hold_out",
    ["line == 'K562'", "drug == 'A'", "drug == 'A' and line == 'K562'"],
)
def test_the_plan_is_what_qc_will_do(validate, data, caplog, hold_out):
    """And a null: a split without a leak passes."""
    with caplog.at_level(logging.INFO):
        pool = "pool" if hold_out == "line == 'K562'" else None
        options = validate(data, hold_out=hold_out, pool_column=pool)
    rule = Rule(**options["split"])
    whole = pd.concat([own.obs.assign(sample=name) for name, own in data.items()])
    splits = pd.Series(rule.apply(whole))
    counts = splits.value_counts()
    assert (splits == "test").to_numpy()[whole.eval(hold_out).to_numpy()].all()
    assert any(
        f"{counts['train']} for train, {counts['validation']} for validation, {counts['test']} for "
        "test" in line
        for line in caplog.messages
    )


@pytest.mark.parametrize(("few_shot", "kept"), [(3, 18), (0.25, None)])
def test_few_cells_are_planned(validate, data, caplog, few_shot, kept):
    with caplog.at_level(logging.INFO):
        options = validate(data, hold_out="line == 'K562'", few_shot=few_shot)
    rule = Rule(**options["split"])
    whole = pd.concat([own.obs.assign(sample=name) for name, own in data.items()])
    found = rule.apply(whole)
    n = int(((found == "train") & (whole["drug"] != "ctrl")).sum())
    assert n == (kept or n)
    (line,) = [line for line in caplog.messages if "plan: fine-tuning" in line]
    assert f"--few_shot keeps {n} of " in line
    assert f" {(found == 'train').sum()} for train" in line


STATE = """
[datasets]
all = "screen.h5ad"
[training]
all = "train"
[zeroshot]
"all.K562" = "test"
[fewshot."all.RPE1"]
test = ["A"]
"""


def test_splits_of_state(validate, data):
    rule = Rule(**validate(data, toml=STATE)["split"])
    whole = pd.concat([own.obs.assign(sample=name) for name, own in data.items()])
    found = (
        pd.Series(rule.apply(whole))
        .groupby([whole["drug"].to_numpy(), whole["line"].to_numpy()])
        .agg(set)
    )
    assert found["B", "K562"] == found["A", "RPE1"] == {"test"}
    assert "test" not in found["A", "Jurkat"] | found["B", "RPE1"]
    with pytest.raises(UserError) as error:
        validate(data, toml=STATE.replace("K562", "HeLa").replace('"A"', '"A", "Z"'))
    text = str(error.value)
    assert "--splits: [zeroshot] lists HeLa, which no cell of all has in obs['line']" in text
    assert "[fewshot] all.RPE1 lists Z, which no cell has in obs['drug']" in text


def copied(data, name="a"):
    """A copy of a cell for testing, as a training cell of another sample under another name."""
    own = data[name]
    (test,) = np.flatnonzero(own.obs["line"] == "K562")[:1]
    other = data["b"].copy()
    (train,) = np.flatnonzero(other.obs["line"] == "RPE1")[:1]
    other.X[train] = own.X[test]
    return {**data, "b": other}, own.obs_names[test], other.obs_names[train]


@pytest.mark.parametrize("way", [{"hold_out": "line == 'K562'"}, {"split_column": "own"}])
def test_the_same_cell_on_both_sides(validate, data, way):
    made, test, train = copied(data)
    with pytest.raises(UserError, match="in two splits, with the same values of every gene") as e:
        validate(made, **way)
    assert f"{test} of sample a (test)" in str(e.value)
    assert f"{train} of sample b (train)" in str(e.value)


def test_a_split_by_chance_lets_copies_follow(validate, data):
    made, *_ = copied(data)
    validate(made)


def test_the_same_name_on_both_sides(validate, data):
    own = data["a"].copy()
    names = own.obs_names.to_list()
    (test,) = np.flatnonzero(own.obs["line"] == "K562")[:1]
    (train,) = np.flatnonzero(own.obs["line"] == "RPE1")[:1]
    names[train] = names[test]
    own.obs_names = names
    with pytest.raises(UserError, match=rf"sample a: 1 names of cells occur twice.*{names[test]}"):
        validate({"a": own, "b": data["b"]}, hold_out="line == 'K562'")


def test_all_leaks_are_reported_together(validate, data):
    made, *_ = copied(data)
    made["b"].obs["drug"] = made["b"].obs["drug"].astype(str).replace({"C": "A 10 uM"})
    with pytest.raises(UserError) as error:
        validate(made, hold_out="line == 'K562' or drug == 'A'", pool_column="mixed")
    text = str(error.value)
    assert text.startswith("3 faults")
    assert "--pool_column mixed: 2 of 2 pools have cells held out and cells to train on" in text
    assert "A 10 uM (A is held out); hold them out too" in text
    assert "with the same values of every gene" in text


def test_a_pool_is_refused_in_a_split_by_chance_too(validate, data):
    with pytest.raises(UserError, match=r"\(m1, m2\); --split_by mixed$"):
        validate(data, pool_column="mixed")
    validate(data, pool_column="pool", split_by="pool", validation=0)


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"hold_out": "line == 'K562'", "split_column": "own"},
         "--split_column and --hold_out each decide"),
        ({"hold_out": "line == 'K562'", "split_by": "line"}, "--hold_out and --split_by each"),
        ({"hold_out": "line == 'HeLa'"}, "no cell is for test .*obs.'line'. holds: "),
        ({"hold_out": "cell_line == 'K562'"}, "--hold_out .*obs has no column 'cell_line'"),
        ({"hold_out": "total_counts > 5"}, "c2sflow makes a column 'total_counts' of its own"),
        ({"few_shot": 2.5}, "--few_shot 2.5: give a share below 1, or a whole number"),
        ({"few_shot": 1e-9}, "keeps none of .* training cells"),
        ({"splits": "none.toml"}, "--splits none.toml: no such file"),
        ({"pool_column": "lane"}, "--pool_column lane: obs has no such column"),
    ],
)  # fmt: skip
def test_faults(validate, data, params, fault):
    with pytest.raises(UserError, match=fault):
        validate({"a": data["a"]}, **params)
