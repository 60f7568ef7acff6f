"""What a run that trains is told before it starts: tasks, splits, and their faults."""

import logging

import numpy as np
import pandas as pd
import pytest
from making import cells
from steps_in_process import INPUT_SCHEMA, SCHEMA

from c2sflow.common.errors import Faults, UserError
from c2sflow.data.splits.splits import Rule
from c2sflow.validation.run import Staged, validate_run
from c2sflow.validation.training import Training

N = 400


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two samples: 8 donors, 5 perturbations and control cells, two labels."""
    folder = tmp_path_factory.mktemp("inputs")
    random = np.random.default_rng(0)
    for seed, name in enumerate(("a", "b")):  # no cell is in both: a split of one's own is refused
        data = cells(N, seed=seed)
        data.obs["donor"] = [f"{name}{n % 4}" for n in range(N)]
        data.obs["drug"] = random.choice(["ctrl", "A", "B", "C", "D", "E"], N)
        data.obs["lonely"] = np.where(data.obs["drug"] == "A", "A", "ctrl")
        data.obs["own"] = random.choice(["train", "validation", "test"], N)
        data.obs["two"] = random.choice(["train", "test"], N)
        data.obs["untested"] = random.choice(["train", "validation"], N)
        data.obs["odd"] = "val"
        data.obs["apart"] = np.where(data.obs["drug"] == "ctrl", "B", "T")
        data.write_h5ad(folder / f"{name}.h5ad")
    (folder / "sheet.csv").write_text("sample,path\na,a.h5ad\nb,b.h5ad\n")
    return folder


def validate(inputs, model_dir=None, **params):
    staged = [str(inputs / "a.h5ad"), str(inputs / "b.h5ad")]
    return validate_run(
        {"input": "sheet.csv", "label_column": "type", "min_genes": 1, **params},
        Staged(staged, inputs / "sheet.csv", model_dir),
        SCHEMA,
        INPUT_SCHEMA,
    )[0]


def obs_of(inputs, name):
    import anndata as ad

    return ad.read_h5ad(inputs / f"{name}.h5ad").obs.assign(sample=name)


def test_without_it_nothing_is_split(inputs):
    assert "split" not in validate(inputs)


@pytest.mark.parametrize("split_by", ["cell", "donor", "drug", "sample"])
def test_the_plan_is_what_qc_will_do(inputs, caplog, split_by):
    params = {"validation": 0.1} if split_by != "sample" else {"split_column": "own"}
    with caplog.at_level(logging.INFO):
        options = validate(
            inputs, finetune="cell_type,perturbation:2", split_by=split_by,
            measured_column="drug", control="drug == 'ctrl'", **params,
        )  # fmt: skip
    rule = Rule(**options["split"])
    splits = pd.concat([pd.Series(rule.apply(obs_of(inputs, n)), dtype=object) for n in "ab"])
    counts = splits.value_counts()
    told = next(line for line in caplog.messages if "fine-tuning" in line)
    assert told.startswith(
        f"plan: fine-tuning (cell_type, perturbation), cells before QC: {counts['train']} for "
        f"train, {counts['validation']} for validation, {counts['test']} for test"
    )
    assert ("groups of donor: 5 for train, 1 for validation, 2 for test" in told) == (
        split_by == "donor"
    )
    if split_by == "donor":  # every donor's cells are on one side, of both samples
        every = pd.concat([obs_of(inputs, n) for n in "ab"])
        assert splits.groupby(every["donor"].to_numpy()).nunique().max() == 1


@pytest.mark.parametrize("params", [{"validation": 0}, {"split_column": "two"}])
def test_validation_cells_can_be_left_out(inputs, caplog, params):
    with caplog.at_level(logging.INFO):
        options = validate(inputs, finetune="cell_type", **params)
    told = next(line for line in caplog.messages if "fine-tuning" in line)
    assert ", 0 for validation, " in told
    assert told.endswith("(the weights of the last step are used)")
    assert set(Rule(**options["split"]).apply(obs_of(inputs, "a"))) == {"train", "test"}


def test_only_held_out_controls_are_predicted(inputs):
    params = {"perturbations": "A,B", "control": "drug == 'ctrl'", "finetune": "cell_type"}
    n = sum((obs_of(inputs, name)["drug"] == "ctrl").sum() for name in "ab")
    most = int(3 * n * 0.4)  # two perturbations and a no-op
    validate(inputs, max_predictions=most, **params)
    with pytest.raises(UserError, match="the run would predict"):
        validate(inputs, max_predictions=most, **{**params, "finetune": None})


def test_prompts_of_the_tasks_are_checked(inputs):
    options = validate(inputs, finetune="cell_type", annotation_prompt="{cell_sentence} of {donor}")
    assert options["annotation"]["annotation_prompt"] == "{cell_sentence} of {donor}"
    with pytest.raises(UserError, match=r"the prompt uses \{dose\}, which obs does not have"):
        validate(
            inputs, finetune="perturbation", measured_column="drug",
            perturbation_prompt="{cell_sentence} {perturbation} {dose}",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"finetune": "cell_types"}, "--finetune: .*no task 'cell_types'; there are cell_type"),
        ({"finetune": "cell_type:0"}, "--finetune: .*the weight of cell_type must be a number"),
        (
            {"finetune": "cell_type", "label_column": None},
            "--finetune cell_type: name the column of obs with the labels: --label_column",
        ),
        ({"finetune": "perturbation"}, "--finetune perturbation: name the column of obs"),
        (
            {"finetune": "generation", "perturbation_column": "drug"},
            "--finetune with --perturbation_column: name the control cells",
        ),
        (
            {"finetune": "generation", "held_out": 0.5, "validation": 0.45},
            "--held_out 0.5, --validation 0.45: leave more to train",
        ),
        ({"finetune": "generation", "held_out": 0}, "--held_out 0: "),
        ({"finetune": "generation", "pseudobulk": "type"}, "--finetune and --pseudobulk: sum the"),
        ({"finetune": "generation", "dtype": "float16"}, "--dtype float16: gradients underflow"),
        (
            {"finetune": "generation", "split_by": "sample"},
            r"--split_by sample: 2 groups \(a, b\) for 3 splits \(train, validation, test\)",
        ),
        ({"finetune": "generation", "split_by": "batch"}, "--split_by batch: obs has no such col"),
        ({"finetune": "generation", "split_by": "n_genes"}, "--split_by n_genes is a name of c2s"),
        (
            {"finetune": "generation", "split_column": "untested"},
            r"--finetune: no cell is for test \(split by untested\); obs\['untested'\] holds: \w+ "
            r"\(\d{3}\), \w+ \(\d{3}\)$",
        ),
        ({"finetune": "generation", "split_column": "odd"}, "--split_column odd: holds 'val'; use"),
        (
            {"finetune": "generation", "held_out": 0.0001, "validation": 0.0001},
            r"--finetune: no cell is for validation or test \(split by cell\)",
        ),
        (
            {"finetune": "perturbation", "measured_column": "donor"},
            r"none of the train cells is a control cell, by donor and --control; obs\['donor'\] "
            r"holds: a0 \(100\), a1 \(100\), a2 \(100\), a3 \(100\), b0 ",
        ),
        (
            {"finetune": "perturbation", "measured_column": "drug", "label_column": "apart"},
            "no perturbed train cell has a control cell of its label in --label_column apart",
        ),
        (
            {"finetune": "perturbation", "measured_column": "lonely", "split_by": "lonely"},
            "--split_by lonely: 1 groups .A. for 3 splits",
        ),
        (
            {
                "finetune": "cell_type", "perturbations": "A",
                "control": "`cell type` == 't1' and score < 0.002",
            },
            "--finetune: none of the cells of --control is held out for a prediction",
        ),
    ],
)  # fmt: skip
def test_faults(inputs, params, fault):
    with pytest.raises(UserError, match=fault):
        validate(inputs, **params)


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ("perturbation", "no perturbed train cell has a control cell of its organism"),
        ("conversion", "the train cells do not have two labels of one organism in --label_column"),
    ],
)
def test_pairs_are_within_an_organism(task, fault):
    """Controls and perturbed cells, or two labels, that are of two organisms."""
    training = Training(
        {task: 1.0},
        Rule(column="split", perturbation_column="drug"),
        "label" if task == "conversion" else None,
    )
    faults = Faults()
    for organism, drug, label in (("human", "ctrl", "B"), ("mouse", "IFN", "T")):
        obs = pd.DataFrame(
            {
                "sample": organism, "organism": organism, "drug": drug, "label": label,
                "split": ["train", "validation", "test"] * 4,
            }
        )  # fmt: skip
        training.look_at(obs, organism, faults)
    training.check(faults)
    assert any(fault in text for text in faults)


def test_a_model_from_scratch_needs_no_model(inputs):
    validate(inputs, finetune="cell_type", finetune_method="scratch", model="no such folder")
    with pytest.raises(UserError, match="--model no such folder: no such directory"):
        validate(inputs, finetune="cell_type", model="no such folder")
