"""Labels in a notebook are those of the workflow."""

import pandas as pd
import pytest

from c2sflow import Cell2Sen, Cell2SenConfig
from c2sflow.common.errors import UserError
from c2sflow.generation.annotate_shards import annotate_shards
from c2sflow.generation.annotation_questions import Asking
from c2sflow.inputs.label_files import read_labels
from c2sflow.inputs.labels import asked_labels

LABELS = """\
- {name: tissue, candidates: [blood, lung, skin]}
- {name: disease, free: true, prompt: "Genes of a {organism} cell: {cell_sentence}. Disease:"}
- {name: donor_sex, candidates: [male, female], score: length, temperature: 2}
"""


@pytest.fixture(scope="module")
def cell2sen(random_model):
    config = {"model_path": random_model, "device": "cpu", "dtype": "float32", "organism": "human"}
    return Cell2Sen(Cell2SenConfig(**config, min_probability=0.4, verbose=False))


def test_labels_equal_the_workflows(tmp_path, cell2sen, random_model, pbmc):
    path = tmp_path / "my labels.yml"
    path.write_text(LABELS)
    dataset = cell2sen.process_data(pbmc[:12])
    found = cell2sen.get_annotations(dataset, ["B cell", "T cell"], labels=path)
    shard = tmp_path / "s.00000.parquet"
    dataset.drop(columns=["perturbations"], errors="ignore").to_parquet(shard)
    options = {"model": random_model, "device": "cpu", "dtype": "float32"}
    labels = asked_labels(True, read_labels(path)[0])
    annotate_shards(
        [shard], tmp_path, options, Asking("B cell\nT cell", min_probability=0.4), labels
    )
    table = pd.read_parquet(tmp_path / "s.00000.annotation.parquet").set_index("cell_id")
    assert found.index.equals(dataset.index)
    pd.testing.assert_frame_equal(
        found, table[list(found)], check_names=False, rtol=1e-4, atol=1e-6
    )
    names = [name for name in found if f"{name}_status" in found]
    assert names == ["c2s_cell_type", "c2s_tissue", "c2s_disease", "c2s_donor_sex"]
    # Entries instead of a file; without cell types these alone.
    entries = [{"name": "tissue", "candidates": ["blood", "lung", "skin"]}]
    alone = cell2sen.get_annotations(dataset, labels=entries)
    pd.testing.assert_frame_equal(alone, found[list(alone)], rtol=1e-4, atol=1e-6)
    assert "c2s_cell_type" not in alone


def test_faults_of_entries_are_reported_at_once(cell2sen, pbmc):
    dataset = cell2sen.process_data(pbmc[:2])
    with pytest.raises(UserError, match=r"entry 1 \(a\): fre is unknown.*entry 2: has no name"):
        cell2sen.get_annotations(dataset, labels=[{"name": "a", "fre": True}, {"free": True}])
    labels = [{"name": "a", "free": True, "prompt": "{cell_sentence} {dose}"}]
    with pytest.raises(UserError, match=r"label a: the prompt uses \{dose\}"):
        cell2sen.get_annotations(dataset, labels=labels)
    with pytest.raises(UserError, match=r"min_probability 2: must be 0 to 1"):
        Cell2SenConfig(min_probability=2)
