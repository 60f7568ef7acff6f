"""--annotate without --cell_types: the log names the labels, and "none" reaches ANNOTATE alone."""

import logging

import pytest
from making import cells
from steps_in_process import INPUT_SCHEMA, SCHEMA

from c2sflow.validation.run import Staged, validate_run
from c2sflow.validation.step_options import step_options


@pytest.fixture
def options(tmp_path, demo_model, caplog):
    """Options of each step, and the lines of the log about the annotation."""
    data = cells()
    data.obs["kind"] = ["B", "T"] * (data.n_obs // 2)
    data.write_h5ad(tmp_path / "cells.h5ad")

    def run(**params):
        staged = Staged([str(tmp_path / "cells.h5ad")], model_dir=demo_model)
        given = {"input": "cells.h5ad", "model": "mine", "min_genes": 1, "annotate": True, **params}
        caplog.clear()
        with caplog.at_level(logging.INFO):
            groups, _ = validate_run(given, staged, SCHEMA, INPUT_SCHEMA)
        lines = [line for line in caplog.messages if line.startswith("annotation: ")]
        return step_options(groups, SCHEMA), lines

    return run


def test_the_models_own_labels(options):
    steps, lines = options()
    assert steps["annotate"]["cell_types"] is None
    assert lines == [
        "annotation: a choice among the 10 labels of --model mine (--cell_types none: free answers)"
    ]


def test_the_labels_of_the_training(options):
    _, lines = options(finetune="cell_type,generation", label_column="kind", finetune_method="full")
    assert lines == [
        "annotation: a choice among the labels of kind trained on (--cell_types none: free answers)"
    ]


def test_a_list_or_free_answers(options):
    steps, lines = options(cell_types="B,T")
    assert (steps["annotate"]["cell_types"], lines) == ("B\nT", [])
    steps, lines = options(cell_types="none", generate=1)
    assert (steps["annotate"]["cell_types"], lines) == ("none", [])
    assert steps["generate"]["cell_types"] is None
    assert "{cell_type}" not in (steps["generate"]["generation_prompt"] or "")
