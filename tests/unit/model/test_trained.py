"""What is known of a model: its record, or the table of published models; and what it warns of."""

import json
import shutil
from pathlib import Path

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from c2sflow.common.errors import UserError
from c2sflow.model.describe import check_and_describe
from c2sflow.model.published import PUBLISHED
from c2sflow.model.trained import (
    FORMER,
    RECORD,
    SOURCE,
    Trained,
    published,
    read_trained,
    task_warnings,
)
from c2sflow.report.run import Run
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, UNCONDITIONAL_PROMPT

DOCS = Path(__file__).resolve().parents[3] / "docs/models.md"
CELL_TYPES = "vandijklab/C2S-Pythia-410m-cell-type-prediction"


@pytest.mark.parametrize("model", PUBLISHED)
def test_every_entry_is_sound_and_in_the_docs(model):
    known = published(model)
    assert known.family in CONFIG_MAPPING_NAMES  # a model_type that transformers has
    rows = [line for line in DOCS.read_text("utf-8").splitlines() if f"| `{model}` |" in line]
    cells = [cell.strip() for cell in rows[-1].split("|")]
    assert cells[2:7] == [
        known.family,
        str(known.max_genes or "as many as fit"),
        str(known.max_answer_genes or "not known"),
        ", ".join(known.tasks) or "many",
        ", ".join(known.organism_words.values()) or "not known",
    ]


def test_a_record_goes_before_the_table(tmp_path):
    assert read_trained(tmp_path) == published("someone/else") == Trained()
    (tmp_path / SOURCE).write_text(json.dumps({"id": CELL_TYPES, "commit": "1"}))
    assert read_trained(tmp_path) == published(CELL_TYPES)
    assert read_trained(tmp_path).max_genes == 200
    (tmp_path / FORMER).write_text('{"max_answer_genes": 9, "cell_types": ["B", "T"]}')
    assert read_trained(tmp_path) == Trained(9, ("B", "T"))
    own = Trained(
        7, tasks=("generation",), prompts={"generation_prompt": "{num_genes}:"},
        organism_words={"human": "Homo sapiens"},
    )  # fmt: skip
    own.write(tmp_path)
    assert read_trained(tmp_path) == own


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"genes": 3}, "genes unknown .it may hold cell_types, family, max_answer_genes"),
        ({"max_genes": "200"}, "max_genes must be a whole number above 0"),
        ({"max_genes": True}, "max_genes must be a whole number above 0"),
        ({"tasks": ["fly"]}, "tasks: no task fly; there are cell_type, generation"),
        ({"tasks": "cell_type"}, "tasks must be a list of texts"),
        ({"prompts": {"prompt": "x"}}, "prompts: no prompt prompt"),
        ({"prompts": ["x"]}, "prompts must be texts by option"),
        ({"family": 2}, "family must be a text"),
        ({"organism_words": {"human": 9606}}, "organism_words must be texts by organism"),
    ],
)
def test_a_broken_record_is_one_line(tmp_path, content, fault):
    (tmp_path / RECORD).write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{RECORD} cannot be read: {fault}") as error:
        read_trained(tmp_path)
    assert "\n" not in str(error.value)


def test_a_task_that_the_model_was_not_trained_for_is_warned_of():
    known = published(CELL_TYPES)
    asked = ["annotation_prompt", "generation_prompt", "perturbation_prompt", "embedding_prompt"]
    cells, perturbed = task_warnings(known, asked, CELL_TYPES)
    assert cells.startswith(f"--model {CELL_TYPES} is asked for cells to generate (--generate)")
    assert "perturbed cells (--perturbations), and was trained for cell_type" in perturbed
    assert not task_warnings(published("vandijklab/C2S-Scale-Gemma-2-2B"), asked, "x")
    assert not task_warnings(known, asked[:1], CELL_TYPES)


def test_the_report_warns_of_what_the_model_was_not_trained_for(demo_model, tmp_path):
    folder = shutil.copytree(demo_model, tmp_path / "model")
    Trained(tasks=("cell_type",)).write(folder)
    asked = {
        "embedding_prompt": {"template": EMBEDDING_PROMPT},
        "annotation_prompt": {"template": EMBEDDING_PROMPT},  # to train it: not answered
        "generation_prompt": {"template": UNCONDITIONAL_PROMPT, "n_genes": 0},
    }
    record, faults, log = check_and_describe(folder, None, "mine", asked)
    assert not faults
    assert "trained for cell_type" in log
    (warning,) = record["warnings"]
    assert "--model mine is asked for cells to generate (--generate)" in warning
    run = Run.__new__(Run)
    run.provenance = {"model": record}
    assert run._of_model == [{"sample": "model", "warnings": [warning]}]
    record, _, _ = check_and_describe(folder, None, "mine", dict([*asked.items()][:2]))
    assert "warnings" not in record
