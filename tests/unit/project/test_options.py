"""A parameter has one home, nextflow_schema.json: what the steps take and refuse is as it says."""

import importlib.util
import json
from dataclasses import fields
from inspect import signature
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from steps_in_process import SCHEMA

from c2sflow.api.cell2sen import Cell2Sen
from c2sflow.api.config import CHOICES, Cell2SenConfig
from c2sflow.inputs.labels import GROUP, Label, labels_to_text
from c2sflow.inputs.parameters import check_parameters, parameter_groups
from c2sflow.training.options import TrainingOptions
from c2sflow.validation.step_options import step_options

ROOT = Path(__file__).resolve().parents[3]
ENTRIES = {name: e for group in parameter_groups(SCHEMA).values() for name, e in group.items()}
PASSED = [(step, name) for name, entry in ENTRIES.items() for step in entry.get("steps", ())]
# A module replaces these by the file that it stages, under a name of its own.
STAGED = {"gene_sets", "gene_vocabulary", "perturbations", "model"}
EVERYTHING = {
    "input": "cells.h5ad", "finetune": "cell_type", "annotate": True, "cell_types": "B,T",
    "perturbations": "drug", "generate": 3, "evaluate": True, "text_encoder": "some/encoder",
    "attention_maps": 4, "base_model": "some/base", "training_cells": "split == 'train'",
    "label_column": "type", "measured_column": "treatment", "replicate_column": "donor",
    "cells_per_prompt": 4, "interpret_groups": True,
    "benchmark": True, "export": "vcc2026",
}  # fmt: skip


def command(step: str) -> click.Command:
    return importlib.import_module(f"c2sflow.steps.{step}").main


def option(step: str, name: str) -> click.Option | None:
    flag = f"--{name.replace('_', '-')}"
    return next((found for found in command(step).params if flag in found.opts), None)


def test_a_parameter_is_hidden_from_help_or_has_advice():
    """`hidden` is nf-core's word; what --help lists fits two screens, and says when to set it."""
    for name, entry in ENTRIES.items():
        assert ("advice" in entry) != entry.get("hidden", False), f"{name}: hidden, or advice?"
    assert 25 <= sum("advice" in entry for entry in ENTRIES.values()) <= 35


def test_every_step_is_one_that_there_is():
    modules = {path.parent.name for path in (ROOT / "modules").glob("*/main.nf")}
    assert {step for step, _ in PASSED} <= modules


@pytest.mark.parametrize(("step", "name"), PASSED)
def test_an_option_is_as_its_parameter(step, name):
    entry, found = ENTRIES[name], option(step, name)
    if name in STAGED:
        assert found or option(step, f"{name}_file"), f"c2s {step} has no --{name}"
        return
    assert found, f"c2s {step} has no --{name}"
    if "enum" in entry and isinstance(found.type, click.Choice):
        assert set(found.type.choices) <= set(map(str, entry["enum"]))
    if isinstance(found.type, click.IntRange | click.FloatRange):
        assert found.type.min == entry.get("minimum", entry.get("exclusiveMinimum"))
        assert found.type.max == entry.get("maximum")
        assert found.type.min_open == ("exclusiveMinimum" in entry)
    if not found.required and entry.get("default") is not None:
        assert found.default == entry["default"], f"c2s {step} --{name}"


def test_what_validate_writes_is_taken_by_the_steps():
    """With everything asked for, no option of a step is one that its command has not."""
    groups, faults = check_parameters(EVERYTHING, SCHEMA)
    assert not faults
    groups["generation"] |= {"organisms": "human", "tasks": 1}
    labels = [Label(), Label("tissue", candidates=("blood", "skin"), level=GROUP)]
    groups["annotation"]["labels"] = labels_to_text(labels)
    groups["split"], groups["asked"] = {"by": "cell"}, {"embedding_prompt": {"template": "x"}}
    written = step_options(groups, SCHEMA)
    assert all(written["asked_for"].values())
    aliases = {
        "tuned_model": "model", "fetch_encoder": "fetch", "embed_groups": "embed",
        "annotate_groups": "annotate",
    }  # fmt: skip
    for step, options in written.items():
        if step in ("asked_for", "n_tasks"):
            continue
        for name, value in options.items():
            assert isinstance(value, str | int | float | None), f"c2s {step} --{name}: one word"
        for name in set(options) - STAGED:
            assert option(aliases.get(step, step), name), f"c2s {step} --{name}"
    assert "base_model" not in written["embed"]


def test_a_model_is_scored_on_what_it_was_not_trained_on():
    groups, _ = check_parameters(EVERYTHING, SCHEMA)
    scored = step_options(groups, SCHEMA)["evaluate"]
    assert scored["training_cells"] == "(split == 'train') or c2s_split != \"test\""
    groups, _ = check_parameters(EVERYTHING | {"finetune": None, "training_cells": None}, SCHEMA)
    assert step_options(groups, SCHEMA)["evaluate"]["training_cells"] is None
    groups, _ = check_parameters({"input": "x", "perturbation_column": "drug"}, SCHEMA)
    options = step_options(groups, SCHEMA)
    assert options["evaluate"]["measured_column"] == "drug"
    assert options["asked_for"] == {
        "finetune": False, "choose": False, "groups": False, "annotate": False,
        "annotate_groups": False, "interpret": False, "plan": True, "evaluate": True,
        "text_scores": False, "benchmark": False, "export": False,
    }  # fmt: skip


def test_the_notebook_class_has_the_same_names_and_defaults():
    """But for `organism`, whose None, Helical's default, means what --organism auto does."""
    own = {"batch_size", "model_path", "model_size", "return_fit", "verbose"}
    for field in fields(Cell2SenConfig):
        assert (field.name in ENTRIES) != (field.name in own), field.name
        entry = ENTRIES.get(field.name, {})
        if entry.get("default") is not None and field.name != "organism":
            assert field.default == entry["default"], field.name
        if "enum" in entry:
            assert set(CHOICES[field.name]) == set(entry["enum"]), field.name


def test_a_notebook_can_set_what_the_steps_take():
    """As a setting, or as an argument of a method; all but the size of shards, which it has not."""
    named = {
        "finetune": "tasks", "finetune_method": "method", "finetune_batch_tokens": "batch_tokens",
        "generate": "n_cells", "generated_genes": "n_genes", "model": "model_path",
    }  # fmt: skip
    steps = {"fetch", "sentences", "embed", "annotate", "perturb", "generate", "finetune"}
    taken = {name for name, entry in ENTRIES.items() if steps & set(entry.get("steps", ()))}
    methods = (
        Cell2Sen.get_embeddings, Cell2Sen.get_annotations, Cell2Sen.get_perturbations,
        Cell2Sen.generate_cells, Cell2Sen.finetune,
    )  # fmt: skip
    known = {name for method in methods for name in signature(method).parameters}
    known |= {field.name for kind in (Cell2SenConfig, TrainingOptions) for field in fields(kind)}
    assert {named.get(name, name) for name in taken} - known == {"shard_size"}


def test_the_table_in_the_docs_is_made_from_the_schema():
    spec = importlib.util.spec_from_file_location("made", ROOT / "docs/parameters.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (ROOT / "docs/parameters.md").read_text(encoding="utf-8") == made.page(SCHEMA)


@pytest.mark.parametrize("scheduler", ["slurm", "lsf", "sge", "pbspro"])
def test_options_for_gpu_jobs_are_those_of_gpu_steps_only(scheduler):
    """tests/pipeline/test_slurm.py sees them in the jobs of a real Slurm."""
    config = (ROOT / f"conf/{scheduler}.config").read_text(encoding="utf-8")
    others, gpu = config.split("withLabel: process_gpu")
    assert "params.cluster_options" in others
    assert "gpu_cluster_options" not in others
    assert gpu.index("params.cluster_options") < gpu.index("params.gpu_cluster_options")


def test_a_stub_run_gets_options_without_a_check(tmp_path):
    arguments = [
        "--no-check", f"--outdir={tmp_path}", "--staged=[0, null]",
        f"--schema={ROOT / 'nextflow_schema.json'}",
        f"--input-schema={ROOT / 'assets/schema_input.json'}",
        '--params={"input": "x", "generate": "3", "skip_qc": "true"}',
    ]  # fmt: skip
    done = CliRunner().invoke(command("validate"), arguments, catch_exceptions=False)
    assert done.exit_code == 0
    options = json.loads((tmp_path / "options.json").read_text())
    assert options["qc"]["skip_qc"] is True
    assert options["n_tasks"]["generate"] == 2
    assert len(json.loads((tmp_path / "samples.json").read_text())) == 2
