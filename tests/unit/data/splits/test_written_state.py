"""splits.toml of a run: read again it is the same split, and cell-load's own code reads it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.data.splits.splits import Rule
from c2sflow.data.splits.state_form import read_state_form
from c2sflow.data.splits.written_state import state_text

DRUGS = ("ctrl", "A", "B", "A+B", "C", "D", "E")
LINES = ("K562", "Jurkat", "RPE1", "HeLa.S3")


def screen(seed, n_cells=300):
    random = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "drug": random.choice(DRUGS, n_cells),
            "line": random.choice(LINES, n_cells),
            "sample": random.choice(["s", "t"], n_cells),
        },
        index=[f"cell{n}" for n in range(n_cells)],
    )
    return obs[~((obs["drug"] == "E") & (obs["line"] != "K562"))]  # not in every context


def settled(rule, obs):
    keys = rule.pending(obs).dropna()
    picked = {}
    if rule.hold_out:
        chosen = rule.named_splits(obs) == "test"
        pairs = zip(rule.contexts(obs)[chosen], rule.controls(obs)[chosen], strict=True)
        for context, control in pairs:
            picked[context, bool(control)] = picked.get((context, bool(control)), 0) + 1
    return rule.settled(keys.value_counts().to_dict(), picked)


def read(text, folder):
    path = folder / "splits.toml"
    path.write_text(text, encoding="utf-8")
    return read_state_form(path)


RULES = [
    {"by": "drug"}, {"by": "line"}, {"by": "drug,line"},
    {"hold_out": "drug == 'A' or drug == 'A+B'"}, {"hold_out": "line == 'HeLa.S3'"},
    {"hold_out": "line == 'K562' or (drug == 'B' and line == 'RPE1')"},
]  # fmt: skip


@given(st.sampled_from(RULES), st.integers(0, 20), st.booleans())
def test_what_is_written_gives_the_same_split(tmp_path_factory, how, seed, validates):
    obs = screen(seed)
    rule = Rule(
        perturbation_column="drug", context_column="line", seed=seed, held_out=0.25,
        validation=0.15 if validates else 0, **how,
    )  # fmt: skip
    rule = settled(rule, obs)
    splits = pd.Series(rule.apply(obs), obs.index)
    text, left_out = state_text(obs, splits, rule)
    assert text is not None
    form = read(text, tmp_path_factory.mktemp("toml"))
    own = {name: form.own[name] for name in ("context_column", "seed", "held_out", "validation")}
    again = Rule(perturbation_column="drug", state=form, **own)
    other = again.apply(obs) != splits.to_numpy()
    # Control cells of held-out contexts alone can be split in a way the form has no words for.
    assert not other[obs["drug"].ne("ctrl").to_numpy()].any()
    assert bool(other.any()) == bool(left_out)
    if not (how.get("by") == "line" and validates):
        assert not other.any()


def test_a_split_by_cell_has_no_words():
    obs = screen(0)
    rule = Rule(perturbation_column="drug", context_column="line")
    text, why = state_text(obs, pd.Series(rule.apply(obs), obs.index), rule)
    assert text is None
    assert "splits.tsv has them" in why


def test_few_cells_are_mentioned():
    obs = screen(0)
    rule = settled(
        Rule(perturbation_column="drug", context_column="line", hold_out="line == 'K562'",
             few_shot=0.5, validation=0),
        obs,
    )  # fmt: skip
    text, left_out = state_text(obs, pd.Series(rule.apply(obs), obs.index), rule)
    assert "--few_shot" in left_out
    assert left_out in text


def test_without_a_context_column_the_samples_are_the_contexts(tmp_path):
    obs = screen(0)
    rule = settled(Rule(by="sample", perturbation_column="drug", held_out=0.5, validation=0), obs)
    splits = pd.Series(rule.apply(obs), obs.index)
    form = read(state_text(obs, splits, rule)[0], tmp_path)
    assert form.own["context_column"] == "sample"
    head = (tmp_path / "splits.toml").read_text().splitlines()[1]
    keys = "pert_col = drug, cell_type_key = sample, batch_col = sample, control_pert = ctrl"
    assert head == f"# {keys}"
    (held,) = {*obs["sample"][splits == "test"]}
    assert form.zeroshot == {"c2sflow": {held: "test"}}


@pytest.mark.parametrize("by", ["line", "drug,line"])
def test_the_column_that_cells_are_held_out_by_has_the_contexts(tmp_path, by):
    """--split_by line without --context_column: several lines of a sample are its contexts."""
    obs = screen(0).assign(sample="s")
    rule = settled(Rule(by=by, perturbation_column="drug", held_out=0.3, validation=0), obs)
    splits = pd.Series(rule.apply(obs), obs.index)
    form = read(state_text(obs, splits, rule)[0], tmp_path)
    assert form.own["context_column"] == "line"
    again = Rule(perturbation_column="drug", state=form, **form.own).apply(obs)
    assert again.tolist() == splits.tolist()
    if by == "line":
        assert form.zeroshot == {"c2sflow": dict.fromkeys({*obs["line"][splits == "test"]}, "test")}


def test_cell_load_reads_it(tmp_path):
    """Its own class, where the package is installed (it is no requirement of ours)."""
    config = pytest.importorskip("cell_load.config")
    obs = screen(3)
    rule = Rule(
        perturbation_column="drug", context_column="line", validation=0,
        hold_out="line == 'HeLa.S3' or (drug == 'B' and line == 'RPE1')",
    )  # fmt: skip
    rule = settled(rule, obs)
    text, _ = state_text(obs, pd.Series(rule.apply(obs), obs.index), rule)
    (tmp_path / "splits.toml").write_text(text)
    read_by_them = config.ExperimentConfig.from_toml(str(tmp_path / "splits.toml"))
    read_by_them.validate()
    assert read_by_them.get_zeroshot_celltypes("c2sflow") == {"HeLa.S3": "test"}
    assert read_by_them.get_fewshot_celltypes("c2sflow") == {"RPE1": {"val": [], "test": ["B"]}}
