"""The chapter on groups of cells."""

import pandas as pd

from c2sflow.report.groups import groups
from c2sflow.report.run import Run

RECORD = {
    "sample": "groups of cells", "by": "<donor>", "cells_per_prompt": 4, "n_groups": 3,
    "n_cells": 12, "n_grouped": 10, "sizes": {"3": 2, "4": 1}, "n_truncated": 1, "n_genes": 200.0,
    "groups": [{"sample": "a", "<donor>": "d1", "n_groups": 3, "n_cells": 10}],
    "labels": {"c2s_tissue": {"blood": 2, "skin": 1}}, "warnings": ["2 cells were cut"],
}  # fmt: skip


def run_of(record):
    nothing: list = []
    return Run(nothing, nothing, nothing, nothing, nothing, {}, pd.DataFrame(), None, groups=record)


def test_counts_sizes_and_labels():
    (section,) = groups(run_of(RECORD))
    assert "3 groups of at most 4 cells, by &lt;donor&gt;: 1 of 4, 2 of 3" in section.description
    assert "10 of 12 cells are in one" in section.description
    assert "1 prompts are cut" in section.description
    assert "c2s_tissue: blood (2), skin (1)" in section.description
    assert section.plot is not None


def test_its_warnings_are_among_those_of_the_run():
    assert ("groups of cells", 2, "cells were cut") in run_of(RECORD).counted_warnings


def test_no_chapter_without_groups():
    assert groups(run_of(None)) == []
