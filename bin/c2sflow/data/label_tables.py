"""The tables of ANNOTATE: which columns of a shard are labels, and what they were chosen from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from c2sflow.common.opened import reading

CANDIDATES = b"c2s_candidates"  # of the file's metadata: JSON, by column of the label
SCORES = "_scores"
STATUS = "_status"


def label_columns(names: Iterable[str]) -> list[str]:
    """Columns of the labels themselves among those of a table: the others are about them."""
    found = set(names)
    return [name for name in names if f"{name}{STATUS}" in found]


def candidates_of(path: Path) -> dict[str, list[str]]:
    """The candidates of each label that was chosen from some, by its column.

    Raises
    ------
    UserError
        If the file is missing or broken.
    """
    with reading(path):
        metadata = pq.read_schema(path).metadata or {}
        return json.loads(metadata.get(CANDIDATES, b"{}"))
