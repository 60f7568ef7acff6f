"""Groups of cells: what cannot be grouped is found before anything runs."""

import logging

import numpy as np
import pytest
from making import cells
from steps_in_process import INPUT_SCHEMA, SCHEMA

from c2sflow.common.errors import UserError
from c2sflow.sentences.groups.prompts import GROUP_PROMPT
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.validation.run import Staged, validate_run
from c2sflow.validation.step_options import step_options


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    data = cells()
    data.obs["empty"] = [""] * data.n_obs
    data.obs["donor"] = np.where(np.arange(data.n_obs) % 4, "d1", None)
    target = tmp_path_factory.mktemp("input") / "data.h5ad"
    data.write_h5ad(target)
    data.obs["neighbours"] = "x"
    data.write_h5ad(target.with_name("odd.h5ad"))
    return target


def validate(path, **params):
    params = {"input": path.name, "min_genes": 1, **params}
    return validate_run(params, Staged([str(path)]), SCHEMA, INPUT_SCHEMA)[0]


def test_options_of_the_steps(path, caplog):
    with caplog.at_level(logging.INFO):
        groups = validate(path, cells_per_prompt=4, group_by="donor", seed=3, shard_size=9)
    steps = step_options(groups, SCHEMA)
    assert steps["asked_for"]["groups"]
    assert steps["groups"] == {
        "cells_per_prompt": 4, "group_by": "donor", "groups_across_samples": False, "seed": 3,
        "shard_size": 9,
    }  # fmt: skip
    assert steps["embed_groups"] == {**steps["embed"], "embedding_prompt": None}
    assert groups["asked"]["group_prompt"] == {
        "template": GROUP_PROMPT, "n_cells": 4, "max_genes": None,
    }  # fmt: skip
    assert "groups of at most 4 cells, by donor" in caplog.text
    assert not step_options(validate(path), SCHEMA)["asked_for"]["groups"]


def test_prompt_is_by_the_names_of_shards_with_context_and_wording(path):
    given = validate(
        path, cells_per_prompt=4, dataset_context="Blood.",
        group_prompt="{num_cells} cells of {donor}:\n{multi_cell_sentences}",
    )  # fmt: skip
    expected = "Blood.\n{num_cells} cells of {donor}:\n{cell_sentence}"
    assert given["groups"]["group_prompt"] == expected
    third = validate(path, cells_per_prompt=4, prompt_variant=3)["groups"]["group_prompt"]
    assert third == WORDINGS["tissue"][2].replace("{multi_cell_sentences}", "{cell_sentence}")


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"group_by": "donr"}, r"--group_by donr: obs has no such column .*donor"),
        ({"group_by": "empty"}, "--group_by empty: .* is empty for all cells of every sample"),
        ({"group_by": "score"}, "--group_by score: 40 values in 40 cells"),
        ({"group_by": "shard"}, "--group_by shard is a name of c2sflow's own"),
        (
            {"group_by": "neighbours", "groups_across_samples": True},
            "--group_by neighbours and --groups_across_samples exclude one another",
        ),
        ({"group_prompt": "{organism}: what is it?"}, "lacks {multi_cell_sentences}"),
        ({"group_prompt": "{multi_cell_sentences} {nothing}"}, "uses {nothing}"),
        ({"cells_per_prompt": 1}, "--cells_per_prompt 1: must be 2 or more"),
    ],
)
def test_faults(path, params, fault):
    with pytest.raises(UserError, match=fault):
        validate(path, **{"cells_per_prompt": 4, **params})


def test_a_column_named_neighbours_is_ambiguous(path):
    odd = path.with_name("odd.h5ad")
    with pytest.raises(UserError, match="obs has a column 'neighbours'"):
        validate(odd, cells_per_prompt=4, group_by="neighbours")


def test_options_without_groups_have_no_effect(path, caplog):
    with caplog.at_level(logging.INFO):
        validate(path, group_by="donor", groups_across_samples=True)
    line = "--group_by, --groups_across_samples: no effect without --cells_per_prompt"
    assert line in caplog.text
