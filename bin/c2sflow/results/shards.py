"""What the shards of a sample hold of its cells: embeddings and labels, each cell's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from c2sflow.common.errors import UserError
from c2sflow.common.files import remedy
from c2sflow.common.opened import open_h5
from c2sflow.common.parquet import column_names, read_parquet
from c2sflow.data.label_tables import SCORES, STATUS, label_columns

Found = TypeVar("Found")


@dataclass
class Sample:
    """One sample to merge.

    Attributes
    ----------
    id
        File-safe name.
    name
        The sample's name as the user gave it.
    path
        h5ad from QC: X log-normalised, obs, var, layers, obsm.
    embeddings
        The h5ad files of its shards, in the order of the cells.
    annotations
        The Parquet files of the shards' labels, likewise; empty if there are none.
    groups
        Group and place of its cells by their names, if cells share prompts.
    """

    id: str
    name: str
    path: Path
    embeddings: list[Path]
    annotations: list[Path] = field(default_factory=list)
    groups: pd.DataFrame | None = None


def read_embeddings(
    sample: Sample, cell_ids: pd.Index
) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """obs and X_c2s of each shard; together they must be exactly `cell_ids`, in order.

    Raises
    ------
    UserError
        If a shard is missing or unreadable, or its cells are missing, doubled or foreign.
    """
    return checked_shards(sample, cell_ids, _vectors)


def read_vectors(sample: Sample) -> Iterator[np.ndarray]:
    """X_c2s of each shard.

    Raises
    ------
    UserError
        If a shard is missing or unreadable.
    """
    for path in sample.embeddings:
        with open_h5(path, f"sample {sample.id}: shard ") as file:
            vectors = _vectors(file)
        yield vectors


def _vectors(file: h5py.File) -> np.ndarray:
    return read_elem(file["obsm/X_c2s"])


def width(file: h5py.File) -> int:
    """Of X_c2s of a shard."""
    return file["obsm/X_c2s"].shape[1]


def checked_shards(
    sample: Sample, cell_ids: pd.Index, get: Callable[[h5py.File], Found]
) -> Iterator[tuple[pd.DataFrame, Found]]:
    """obs of each shard and what `get` reads; together they must be exactly `cell_ids`, in order.

    Raises
    ------
    UserError
        As `read_embeddings`.
    """
    start = 0
    for path in sample.embeddings:
        with open_h5(path, f"sample {sample.id}: shard ") as file:
            obs = read_elem(file["obs"])
            found = get(file)
        expected = cell_ids[start : start + len(obs)]
        if not obs.index.equals(expected):
            raise UserError(
                f"sample {sample.id}: shard {path.name} {_difference(obs.index, cell_ids)}; "
                f"{remedy(path)}"
            )
        start += len(obs)
        yield obs.set_axis(expected), found  # the same strings: each name is held once
    if start != len(cell_ids):
        raise UserError(
            f"sample {sample.id}: {len(cell_ids) - start} cells have no embedding, the first "
            f"is {cell_ids[start]!r}"
        )


def read_annotations(sample: Sample, cell_ids: pd.Index) -> pd.DataFrame:
    """Labels of each cell, and what is about them; the cells must be `cell_ids`.

    Without annotations, no column.

    Raises
    ------
    UserError
        If a shard is missing or unreadable, or its cells are missing, doubled or foreign.
    """
    if not sample.annotations:
        return pd.DataFrame(index=cell_ids)
    of = f"sample {sample.id}: shard "
    tables = [_annotation(path, of) for path in sample.annotations]
    table = pd.concat(tables).set_index("cell_id")
    if not table.index.equals(cell_ids):
        raise UserError(
            f"sample {sample.id}: the labels are not those of its cells: the table "
            + _difference(table.index, cell_ids)
        )
    labels = label_columns(table)
    texts = [*labels, *(f"{name}{STATUS}" for name in labels)]
    return table.astype(dict.fromkeys(texts, "category")).set_axis(cell_ids)


def _annotation(path: Path, of: str) -> pd.DataFrame:
    """A shard's table without the scores of all candidates, which are for the evaluation."""
    names = [name for name in column_names(path, of) if not name.endswith(SCORES)]
    return read_parquet(path, names, of).to_pandas()


def _difference(found: pd.Index, cell_ids: pd.Index) -> str:
    foreign = found.difference(cell_ids)
    if len(foreign):
        return f"holds cells of another sample, such as {foreign[0]!r}"
    if not found.is_unique:
        return f"holds cells twice, such as {found[found.duplicated()][0]!r}"
    return "does not hold the cells that come next: a shard is missing, doubled or out of order"
