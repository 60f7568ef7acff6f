"""Training on several cells: what VALIDATE refuses, and what FINETUNE is told."""

import json
import logging

import numpy as np
import pytest
from making import cells
from steps_in_process import INPUT_SCHEMA, SCHEMA

from c2sflow.common.errors import UserError
from c2sflow.model.trained import SEVERAL_PROMPT, Trained
from c2sflow.sentences.groups.prompts import GROUP_PROMPT, about
from c2sflow.sentences.prompts import GENERATION_PROMPT
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.validation.run import Staged, validate_run
from c2sflow.validation.step_options import step_options

FIRST = WORDINGS["tissue_generation"][0]
BOTH = {
    "finetune": "tissue,tissue_generation", "tissue_column": "tissue", "cells_per_prompt": 4,
    "cells_per_answer": 3,
}  # fmt: skip
GIVEN = ("cells_per_prompt", "cells_per_answer", "tissue_column", "group_by")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    data = cells(200)
    data.obs["tissue"] = np.where(np.arange(200) % 3, "blood", "lung")
    data.obs["empty"] = [""] * data.n_obs
    data.obs["donor"] = np.where(np.arange(200) % 4, "d1", "d2")
    target = tmp_path_factory.mktemp("input") / "data.h5ad"
    data.write_h5ad(target)
    return target


def validate(path, model_dir=None, **params):
    params = {"input": path.name, "min_genes": 1, **params}
    staged = Staged([str(path)], model_dir=model_dir)
    return validate_run(params, staged, SCHEMA, INPUT_SCHEMA)[0]


def finetune_options(path, **params):
    return step_options(validate(path, **params), SCHEMA)["finetune"]


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"tissue_column": None}, "--finetune tissue: name the column of obs with the tissues"),
        ({"tissue_column": "organ"}, "--tissue_column organ: obs has no such column"),
        ({"tissue_column": "shard"}, "--tissue_column shard is a name of c2sflow's own"),
        (
            {"tissue_column": "empty"},
            "--finetune tissue: the train cells do not have a tissue in --tissue_column empty",
        ),
        ({"cells_per_prompt": None}, "--finetune tissue: give the number .*--cells_per_prompt"),
        (
            {"cells_per_answer": None},
            "--finetune tissue_generation: give the number of cells together: --cells_per_answer",
        ),
        ({"group_by": "neighbours"}, "draws groups by sample or by a column of obs; give one"),
        ({"cells_per_prompt": None, "finetune": "tissue_generation", "group_by": "donr"},
         "--group_by donr: obs has no such column"),
        (
            {"finetune": "generation", "generate": 3, "temperature": 1},
            "--cells_per_answer 3: --finetune generation trains answers of one cell; train tissue",
        ),
        ({"generation_prompt": "{num_cells} cells:"}, "--generation_prompt: .*lacks {tissue}"),
    ],
)  # fmt: skip
def test_faults(path, params, fault):
    with pytest.raises(UserError, match=fault):
        validate(path, **{**BOTH, **params})


def test_the_training_is_told_of_groups_if_it_has_a_task_of_them(path, caplog):
    with caplog.at_level(logging.INFO):
        found = finetune_options(path, **BOTH, group_by="donor")
    assert [found[name] for name in GIVEN] == [4, 3, "tissue", "donor"]
    assert "no effect" not in caplog.text
    assert [found[name] for name in ("cells_prompt", "tissue_prompt", "generation_prompt")] == [
        None
    ] * 3
    with caplog.at_level(logging.INFO):
        other = finetune_options(
            path, **BOTH | {"finetune": "cell_type", "label_column": "type"}, group_by="donor"
        )
    assert [other[name] for name in GIVEN] == [None, None, None, "sample"]
    line = "--tissue_column: no effect without --finetune tissue or tissue_generation"
    assert line in caplog.text
    assert "--cells_per_answer: no effect without --generate" in caplog.text
    one = finetune_options(path, finetune="tissue_generation", cells_per_answer=3)
    assert [one[name] for name in GIVEN] == [None, 3, None, "sample"]


def test_each_task_has_the_prompt_of_its_kind(path):
    """Whatever GENERATE asks for, with the text about the data, in the wording that is chosen."""
    every = BOTH | {"finetune": "generation,tissue,tissue_generation", "label_column": "type"}
    found = finetune_options(path, **every, dataset_context="Blood.")
    assert found["cells_prompt"] == f"Blood.\n{FIRST}"
    assert found["generation_prompt"] == f"Blood.\n{GENERATION_PROMPT}"
    assert found["tissue_prompt"] == f"Blood.\n{GROUP_PROMPT}"
    third = {"prompt_variant": 3, "generate": 3, "cell_types": "B", "temperature": 1}
    groups = validate(path, **every, **third)
    found, asked = step_options(groups, SCHEMA), groups["asked"]
    assert found["finetune"]["cells_prompt"] == WORDINGS["tissue_generation"][2]
    assert found["finetune"]["generation_prompt"] == WORDINGS["generation"][2]
    of_type = about(WORDINGS["tissue_generation"][2], "cell_type")
    assert found["generate"]["generation_prompt"] == of_type
    assert asked["generation_prompt (several cells)"]["answer_cells"] == 3
    own = "{num_cells} cells of {tissue}, {num_genes} genes:"
    found = finetune_options(path, **every, generation_prompt=own)
    assert (found["cells_prompt"], found["generation_prompt"]) == (own, GENERATION_PROMPT)
    found = step_options(
        validate(path, **BOTH, generation_prompt=own, generate=3, tissues="blood"), SCHEMA
    )
    assert found["finetune"]["cells_prompt"] == found["generate"]["generation_prompt"] == own


def test_a_labels_own_prompt_is_trained(path, tmp_path):
    labels = tmp_path / "labels.yml"
    own = "{multi_cell_sentences}\nWhere are they from?"
    entry = {"name": "tissue", "level": "group", "prompt": own, "candidates": ["blood", "lung"]}
    labels.write_text(json.dumps([entry]))
    params = {"input": path.name, "min_genes": 1, "labels": str(labels), **BOTH}
    staged = Staged([str(path)], labels_file=labels)
    groups = validate_run(params, staged, SCHEMA, INPUT_SCHEMA)[0]
    steps = step_options(groups, SCHEMA)
    assert steps["finetune"]["tissue_prompt"] == own.replace(
        "multi_cell_sentences", "cell_sentence"
    )


def test_what_it_was_trained_with_is_asked_later(path, demo_model, tmp_path):
    """The prompt on record for several cells is that of several cells of the same kind."""
    model = tmp_path / "model"
    model.mkdir()
    for file in demo_model.iterdir():
        (model / file.name).symlink_to(file)
    (model / "c2s_model.json").unlink(missing_ok=True)
    fifth = WORDINGS["tissue_generation"][4]
    one = "{num_genes} genes of {cell_type}:"
    prompts = {SEVERAL_PROMPT: fifth, "generation_prompt": one}
    Trained(tasks=("tissue_generation",), prompts=prompts).write(model)
    asked = {"model": str(model), "generate": 3, "temperature": 1}

    def prompt(**params):
        return validate(path, model, **asked, **params)["generation"]["generation_prompt"]

    assert prompt(cells_per_answer=3, tissues="blood") == fifth
    assert prompt(cells_per_answer=3, cell_types="B") is None
    assert prompt(cell_types="B") == one
    assert prompt() is None
