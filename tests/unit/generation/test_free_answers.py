"""Which free answers are a cell type, and where the labels to choose from come from."""

import json

import pandas as pd
import pytest

from c2sflow.common.errors import UserError
from c2sflow.generation.annotate_shards import annotate_shards
from c2sflow.generation.annotation_questions import labels_to_choose_from
from c2sflow.generation.free_answers import read_label
from c2sflow.model.trained import Trained

GENES = {"CD4", "T", "LYZ", "S100A9", "FTL", "CD8A"}


@pytest.mark.parametrize(
    ("text", "ended", "expected"),
    [
        (" CD4 T cell.", True, ("CD4 T cell", "ok")),
        (" CD8A+ T cell", True, ("CD8A+ T cell", "ok")),
        (" CD4 T", True, ("CD4 T", "ok")),  # two words are no list
        (" monocyte\n\nBecause LYZ", False, ("monocyte", "ok")),  # its line ended
        (" monocyte of the", False, (None, "length")),
        (" LYZ S100A9 FTL CD4", False, (None, "length")),
        (" LYZ S100A9 FTL CD4.", True, (None, "genes")),
        (" LYZ, S100A9, FTL, monocyte", True, (None, "genes")),
        ("", True, (None, "empty")),
        (" . ", False, (None, "empty")),
    ],
)
def test_read_label(text, ended, expected):
    assert read_label(text, ended, GENES) == expected


def test_labels_are_those_given_or_the_models_own_or_none(tmp_path):
    assert labels_to_choose_from(None, tmp_path) == (None, "free")
    Trained(60, ("B", "T, naive", "B.")).write(tmp_path)
    assert labels_to_choose_from(None, tmp_path) == (["B", "T, naive"], "model")
    assert labels_to_choose_from("none", tmp_path) == (None, "free")
    assert labels_to_choose_from("NK, T", tmp_path) == (["NK", "T"], "option")
    with pytest.raises(UserError, match="give at least two"):
        labels_to_choose_from("NK", tmp_path)
    for labels in (("B",), tuple(map(str, range(1001)))):  # no choice, and more than are scored
        Trained(60, labels).write(tmp_path)
        assert labels_to_choose_from(None, tmp_path) == (None, "free")


def test_a_model_that_never_ends_gives_no_cell_types(tmp_path, random_model, records):
    shard = tmp_path / "s.00000.parquet"
    pd.DataFrame(records[:9]).to_parquet(shard)
    annotate_shards([shard], tmp_path, {"model": random_model, "device": "cpu", "dtype": "float32"})
    table = pd.read_parquet(tmp_path / "s.00000.annotation.parquet")
    figures = json.loads((tmp_path / "s.00000.annotate.json").read_text())
    assert table["c2s_cell_type"].isna().all()
    assert table["c2s_cell_type_probability"].isna().all()
    counts = table["c2s_cell_type_status"].value_counts().to_dict()
    assert counts == {"length": 8, "no_genes": 1}
    assert figures["labels"]["cell_type"]["without"] == counts
    assert figures["labels"]["cell_type"]["labels_from"] == "free"
    (warning,) = figures["warnings"]
    assert warning.startswith("9 cells have no cell type: ")
    assert "8 answers did not end within 40 tokens" in warning
    assert warning.endswith("name the labels to choose from with --cell_types")
