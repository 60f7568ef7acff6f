"""--labels in VALIDATE: all faults before anything runs; later steps need no file."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from making import cells
from steps_in_process import INPUT_SCHEMA, SCHEMA

from c2sflow.common.errors import UserError
from c2sflow.inputs.labels import Label, labels_from_text
from c2sflow.validation.run import Staged, validate_run
from c2sflow.validation.step_options import step_options

ROOT = Path(__file__).resolve().parents[3]
GOOD = """\
- {name: tissue, candidates: [blood, lung], measured: organ}
- {name: disease, free: true, prompt: "{cell_sentence} of {age}:", measured: state}
"""


@pytest.fixture
def data(tmp_path):
    made = cells()
    made.obs["organ"] = ["blood", "kidney"] * (made.n_obs // 2)
    made.obs["state"] = ["well", "ill"] * (made.n_obs // 2)
    made.obs["age"] = list(range(made.n_obs))
    made.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.fixture
def run(tmp_path, data, demo_model, caplog):
    def validated(text=GOOD, vocabularies=None, model_dir=demo_model, **params):
        path = tmp_path / "my labels.yml"
        path.write_text(text, encoding="utf-8")
        staged = Staged(
            [str(data)], model_dir=model_dir, labels_file=path, vocabularies=vocabularies or {}
        )
        given = {"input": "cells.h5ad", "model": "mine", "min_genes": 1, "labels": "my labels.yml"}
        caplog.clear()
        with caplog.at_level(logging.INFO):
            groups, _ = validate_run(given | params, staged, SCHEMA, INPUT_SCHEMA)
        return groups, step_options(groups, SCHEMA), caplog.messages

    return validated


def test_the_file_becomes_an_option_of_annotate(run):
    groups, steps, log = run(dataset_context="Of a biopsy.", min_probability=0.4)
    assert steps["asked_for"]["annotate"]
    assert steps["annotate"]["min_probability"] == 0.4
    tissue, disease = labels_from_text(steps["annotate"]["labels"])
    assert tissue.candidates == ("blood", "lung")
    assert tissue.prompt.startswith("Of a biopsy.\nThe following is a list of {num_genes} gene")
    assert tissue.prompt.endswith("{cell_sentence}.\nThe tissue of this cell is:")
    assert disease == Label(
        "disease", prompt="Of a biopsy.\n{cell_sentence} of {age}:", free=True, measured="state"
    )
    # MODEL checks that the context has room for prompts and answers.
    asked = groups["asked"]
    assert asked["labels (tissue)"]["labels"] == ["blood", "lung"]
    assert asked["labels (disease)"]["n_tokens"] == 40
    assert not any("nothing can agree" in line for line in log)


def test_with_annotate_the_cell_type_is_asked_for_too(run):
    _, steps, _ = run(annotate=True, cell_types="B,T")
    labels = labels_from_text(steps["annotate"]["labels"])
    assert [label.name for label in labels] == ["cell_type", "tissue", "disease"]
    assert labels[0] == Label()  # --cell_types and --annotation_prompt are options of their own
    assert steps["annotate"]["cell_types"] == "B\nT"
    groups, steps, log = run(GOOD + "- name: cell_type\n")
    assert groups["annotation"]["annotate"] is True
    assert "annotation: a choice among the 10 labels" in "\n".join(log)
    _, steps, _ = run(text=GOOD, labels=None, annotate=True)
    assert steps["annotate"]["labels"] is None


def test_a_vocabulary_is_no_file_any_more(run, tmp_path):
    (tmp_path / "staged").mkdir()
    file = tmp_path / "staged/organs (all).txt"
    file.write_text("blood\nlung\n")
    text = "- {name: tissue, vocabulary: 'lists/organs (all).txt'}\n"
    _, steps, _ = run(text, {"lists/organs (all).txt": file})
    assert labels_from_text(steps["annotate"]["labels"])[0].candidates == ("blood", "lung")
    with pytest.raises(UserError, match=r"vocabulary lists/organs \(all\)\.txt: no such file"):
        run(text)


def test_all_faults_together(run):
    text = (
        "- {name: tissue, candidate: [a, b], measured: organs}\n"
        "- {name: sex, free: true, prompt: 'of {age2}: {cell_sentence}'}\n"
        "- {name: age, free: true, prompt: 'no field'}\n"
        "- {name: donor, free: true, measured: c2s_sex}\n"
        "- {name: lot, free: true, measured: shard}\n"
        "- {name: stage, free: true, level: group}\n"
    )
    with pytest.raises(UserError) as error:
        run(text, max_genes=0, min_probability=2)
    found = str(error.value)
    for part in (
        "line 1 (tissue): candidate is unknown (did you mean candidates?)",
        "--labels (tissue): measured organs: obs has no such column",
        "--labels (sex): the prompt uses {age2}, which obs does not have",
        "--labels (age): prompt template lacks {cell_sentence}",
        "--labels (donor): measured c2s_sex is a name of c2sflow's own",
        "--labels (lot): measured shard is a name of c2sflow's own",
        "--labels (stage): level group asks about groups; set --cells_per_prompt",
        "--min_probability 2: must be 1 or less",
        "--max_genes 0",
    ):
        assert part in found, part


def test_answers_that_the_truth_does_not_have_are_named(run):
    _, _, log = run("- {name: tissue, candidates: [Blood, lungs], measured: organ}\n")
    (line,) = [line for line in log if "nothing can agree" in line]
    assert line == (
        "--labels (tissue): no answer to choose from is a value of obs['organ'] (blood, kidney): "
        "nothing can agree; name the answers as the column does"
    )


def test_a_model_without_these_tasks_is_warned_of(run, tmp_path, demo_model):
    _, _, log = run()
    assert not any("was trained for" in line and "--labels" in line for line in log)
    for path in demo_model.glob("*.*"):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    record = tmp_path / "model" / "c2s_model.json"
    content = json.loads(record.read_text()) if record.exists() else {}
    record.write_text(json.dumps(content | {"tasks": ["cell_type", "tissue"]}))
    _, _, log = run(model_dir=tmp_path / "model")
    (line,) = [line for line in log if line.startswith("--labels: ")]
    assert line == (
        "--labels: --model mine was trained for cell_type and tissue, and not for disease: judge "
        "these by cells whose labels you know (measured)"
    )


def test_a_missing_file_and_an_option_without_effect(data, demo_model, caplog):
    given = {"input": "cells.h5ad", "model": "mine", "min_genes": 1}
    staged = Staged([str(data)], model_dir=demo_model)
    with pytest.raises(UserError, match=r"--labels gone\.yml: no such file"):
        validate_run(given | {"labels": "gone.yml"}, staged, SCHEMA, INPUT_SCHEMA)
    with caplog.at_level(logging.INFO):
        validate_run(given | {"min_probability": 0.5}, staged, SCHEMA, INPUT_SCHEMA)
    assert "--min_probability: no effect without --annotate or --labels" in caplog.messages


def test_the_step_takes_the_files_as_nextflow_stages_them(tmp_path, data, demo_model):
    named = tmp_path / "named"
    for place, (name, text) in enumerate(
        {"my labels.yml": "- {name: t, vocabulary: 'a b/organs.txt'}", "organs.txt": "x\ny"}.items()
    ):
        (named / str(place)).mkdir(parents=True)
        (named / str(place) / name).write_text(text)
    staged = {
        "labels": f"{named}/0/my labels.yml", "vocabulary:a b/organs.txt": f"{named}/1/organs.txt",
    }  # fmt: skip
    params = {"input": "cells.h5ad", "model": "mine", "min_genes": 1, "labels": "x/my labels.yml"}
    command = [
        sys.executable, ROOT / "bin" / "c2s", "validate", f"--params={json.dumps(params)}",
        f"--staged={json.dumps([str(data)])}", f"--schema={ROOT / 'nextflow_schema.json'}",
        f"--input-schema={ROOT / 'assets/schema_input.json'}", f"--model-dir={demo_model}",
        f"--named={json.dumps(staged)}", f"--outdir={tmp_path}",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    options = json.loads((tmp_path / "options.json").read_text())
    assert labels_from_text(options["annotate"]["labels"])[0].candidates == ("x", "y")
