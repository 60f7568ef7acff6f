"""Which cells figures may use: decided in one place, and so for every table, tile and picture."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from c2sflow.common.errors import UserError
from c2sflow.data.obs.figure_cells import figure_cells, known_labels, needed_columns

LIBRARY = Path(__file__).resolve().parents[4] / "bin" / "c2sflow"


def test_labels_that_are_none():
    labels = pd.Series(
        ["T cell", " T cell ", "unknown", "Unknown", "NaN", "nan", "", " ", None, np.nan, "Na",
         "unassigned", "?", 7], dtype=object,
    )  # fmt: skip
    kept = [*["T cell"] * 2, *[None] * 8, "Na", None, None, "7"]
    assert known_labels(labels).tolist() == kept
    assert known_labels(labels.astype(str).astype("category")).tolist()[:9] == [*kept[:8], None]
    assert known_labels(pd.Series([], dtype=object)).tolist() == []


def test_training_cells_and_cells_without_a_label_are_left_out():
    obs = pd.DataFrame({"set": list("aabb"), "type": ["B", "unknown", "B", None]})
    found = figure_cells(obs, "set == 'a'", "type")
    assert found.known
    assert found.trained.tolist() == [True, True, False, False]
    assert found.judged.tolist() == [False, False, True, False]
    assert found.judged_labels.tolist() == [None, None, "B", None]
    unknown = figure_cells(obs, None, "type")
    assert not unknown.known
    assert unknown.held_out.all()
    assert not figure_cells(obs, None).labelled.any()
    assert needed_columns("set == 'a' and `n genes` > 3", "type") == ["set", "n genes", "type"]
    with pytest.raises(UserError, match="--training_cells"):
        figure_cells(obs, "sett == 'a'")


def test_no_other_module_decides_which_cells_were_trained_on():
    """A new figure goes through `figure_cells`, or this fails."""
    for path in LIBRARY.rglob("*.py"):
        if path.name not in ("figure_cells.py", "obs_columns.py"):  # VALIDATE only counts them
            assert not re.search(r"select_cells\([^)]*training_cells", path.read_text()), path.name
