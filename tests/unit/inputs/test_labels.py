"""labels.yml: read as it is meant, and every fault with its place."""

import json
from pathlib import Path

import pytest

from c2sflow.common.errors import UserError
from c2sflow.inputs.label_files import labels_of, read_labels, vocabulary_paths
from c2sflow.inputs.label_schema import SCHEMA
from c2sflow.inputs.labels import Label, asked_labels, labels_from_text, labels_to_text

ROOT = Path(__file__).resolve().parents[3]
GOOD = """\
- name: tissue
  candidates: [blood, "bone marrow, red", lung]
  measured: organ
- name: sex
  candidates: [no, 1, 2.50]   # texts, as written
  score: length
  min_probability: 0.5
  temperature: 2
- name: disease
  free: true
- name: age_group
  vocabulary: my files/ages (v1).txt
  prompt: |
    Genes: {cell_sentence}
    The age is:
- name: cell_type
"""


def write(folder, text):
    path = folder / "my labels.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_read(tmp_path):
    (tmp_path / "my files").mkdir()
    (tmp_path / "my files/ages (v1).txt").write_text("young\n\nold.\nold\n", encoding="utf-8")
    path = write(tmp_path, GOOD)
    assert vocabulary_paths(path) == ["my files/ages (v1).txt"]
    labels, faults = read_labels(path)
    assert not faults
    assert labels == [
        Label("tissue", candidates=("blood", "bone marrow, red", "lung"), measured="organ"),
        Label(
            "sex", candidates=("no", "1", "2.50"), score="length", min_probability=0.5,
            temperature=2.0,
        ),
        Label("disease", free=True),
        Label(
            "age_group", prompt="Genes: {cell_sentence}\nThe age is:\n",
            candidates=("young", "old."),
        ),
        Label(),
    ]  # fmt: skip
    assert labels_from_text(labels_to_text(labels)) == labels
    assert labels_from_text(None) == []
    assert labels[0].columns[:3] == ["c2s_tissue", "c2s_tissue_probability", "c2s_tissue_entropy"]
    # The file may be staged elsewhere.
    staged = {"my files/ages (v1).txt": tmp_path / "my files/ages (v1).txt"}
    assert read_labels(path, staged)[0] == labels


def test_annotate_asks_for_the_cell_type_beside_the_file():
    tissue, own = Label("tissue", free=True), Label(free=True)
    assert asked_labels(True, [tissue]) == [Label(), tissue]
    assert asked_labels(False, [tissue]) == [tissue]
    assert asked_labels(True, [tissue, own]) == [tissue, own]
    assert asked_labels(True, []) == [Label()]


def test_json_is_taken_too_and_says_its_lines(tmp_path):
    text = '[\n {"name": "tissue", "candidates": ["a", "b"]},\n {"name": "1"}]'
    labels, faults = read_labels(write(tmp_path, text))
    assert labels == [Label("tissue", candidates=("a", "b"))]
    assert len(faults) == 2
    assert all(fault.startswith("--labels my labels.yml, line 3") for fault in faults)


FAULTS = {
    "- candidates: [a, b]": "line 1: has no name",
    "- name: tissue": "line 1 (tissue): has no answers to choose from; give candidates, or a "
    "vocabulary file, or free: true",
    "- name: tissue\n  candidate: [a, b]\n  free: true": "line 1 (tissue): candidate is unknown "
    "(did you mean candidates?); an entry has name, prompt,",
    "- name: tissue\n  candidates: []": "candidates must be a list of texts, two or more",
    "- name: tissue\n  candidates: a, b": "candidates must be a list of texts, two or more",
    "- name: tissue\n  candidates: [a, a.]": "candidates: 1 different answers; give at least two",
    "- name: tissue\n  candidates: [a, b]\n  free: true": "candidates and free exclude one another",
    "- name: tissue\n  candidates: [a, b]\n  name: organ": "line 3: the entry has 'name' twice",
    "- name: tissue\n  vocabulary: gone.txt": "line 1 (tissue): vocabulary gone.txt: no such file",
    "- name: tissue\n  free: yes": "free yes must be true or false",
    "- name: tissue\n  free: true\n  level: donor": "level donor must be one of cell, group",
    "- name: tissue\n  free: true\n  score: best": "score best must be one of likelihood, length",
    "- name: a\n  free: true\n  min_probability: 2": "min_probability 2 must be 1 or less",
    "- name: a\n  free: true\n  min_probability: x": "min_probability x must be a number",
    "- name: a\n  free: true\n  temperature: 0": "temperature 0 must be above 0",
    "- name: a\n  free: true\n  prompt:": "line 1 (a): prompt is empty",
    "- name: a b\n  free: true": "name a b must begin with a letter, and have letters, digits",
    "- name: c2s_a\n  free: true": "(c2s_a): columns get the prefix c2s_ anyway",
    "- name: split\n  free: true": "obs['c2s_split'] is a column of c2sflow's own; rename it",
    "- name: embedding\n  free: true": "obs['c2s_embedding_spread'] is a column of c2sflow's own",
    "- name: a\n  free: true\n- name: a\n  free: true": "line 3 (a): the name is in line 1 already",
    "- name: a\n  free: true\n- name: a_status\n  free: true": "line 3 (a_status): "
    "obs['c2s_a_status'] is a column of line 1; rename one",
    "tissue": "my labels.yml: must be a list of labels, each with a name",
    "": "my labels.yml: must be a list of labels",
    "- tissue": "line 1: must be an entry with a name",
    "- name: [": "cannot be read as YAML: ",
    "? [a]\n: b": "cannot be read as YAML: ",
    "tissue:\n  free: true": "must be a list of labels",
    "- ? [a]\n  : b": "cannot be read as YAML: ",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_has_its_place(tmp_path, text):
    _, faults = read_labels(write(tmp_path, text))
    assert any(FAULTS[text] in fault for fault in faults), faults
    assert all(fault.startswith("--labels my labels.yml") for fault in faults)
    assert not any("\n" in fault for fault in faults)


def test_all_faults_are_found_at_once(tmp_path):
    text = "- name: a\n  fre: true\n- name: a\n  candidates: [x]\n- name: split\n  free: true\n"
    _, faults = read_labels(write(tmp_path, text))
    for part in (
        "line 1 (a): fre is unknown (did you mean free?)",
        "line 3 (a): candidates: 1",
        "line 3 (a): the name is in line 1",
        "line 5 (split): obs['c2s_split']",
    ):
        assert any(part in fault for fault in faults), (part, faults)


def test_too_many_answers_are_refused(tmp_path):
    (tmp_path / "many.txt").write_text("\n".join(map(str, range(1001))))
    _, faults = read_labels(write(tmp_path, "- name: a\n  vocabulary: many.txt"))
    assert "1001 answers; the most is 1000" in faults[0]
    long = "\n".join(f"- name: a{n}\n  candidates: [{'x' * 30000}{n}, y]" for n in range(4))
    _, faults = read_labels(write(tmp_path, long))
    assert "characters; the most is 100,000" in faults[0]


def test_a_notebook_gives_entries_of_its_own():
    made = labels_of([{"name": "age", "candidates": [1, 2], "min_probability": 0.5}])
    assert made == [Label("age", candidates=("1", "2"), min_probability=0.5)]
    with pytest.raises(UserError, match=r"entry 1 \(age\): fre is unknown \(did you mean free\?\)"):
        labels_of([{"name": "age", "fre": True}])


def test_the_schema_for_editors_is_the_one_that_is_checked():
    assert json.loads((ROOT / "assets/schema_labels.json").read_text()) == SCHEMA
