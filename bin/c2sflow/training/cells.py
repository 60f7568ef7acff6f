"""Cells to train on: sentences and annotation of the cells that a split gives to training.

Test cells are never read: what trains has no way to see them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from c2sflow.common.errors import UserError
from c2sflow.common.parquet import column_names, read_parquet
from c2sflow.data.splits.splits import COLUMN as SPLIT
from c2sflow.data.splits.splits import SPLITS, UNUSED
from c2sflow.sentences.organism_words import with_words
from c2sflow.sentences.shards import obs_frame

CELL = ("cell_id", "sample")
ALWAYS = (*CELL, "organism", "n_genes", "cell_sentence")


@dataclass(frozen=True)
class TrainingCells:
    """Cells of one split, of all samples.

    Attributes
    ----------
    obs
        cell_id, sample, organism, n_genes and the columns asked for.
    sentences
        Arrow large_string (n_cells,): Python strings of them all would need several times as much.
    """

    obs: pd.DataFrame
    sentences: pa.Array

    def __len__(self) -> int:
        return len(self.obs)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {name: self.obs[name].to_numpy(dtype=object) for name in self.obs}

    def record(self, row: int, **more: object) -> dict[str, Any]:
        """What a prompt may use of a cell; `more` takes the place of its own."""
        own = {name: values[row] for name, values in self._columns.items()}
        return {**own, "cell_sentence": self.sentences[row].as_py(), **more}

    def genes(self, row: int, most: int | None = None) -> list[str]:
        """The first genes of a cell's sentence."""
        return self.sentences[row].as_py().split(" ")[:most]

    def digest(self) -> str:
        """Hex SHA-256 of all that is in it."""
        digest = hashlib.sha256("\0".join(self.obs.columns).encode())
        for column in self._columns.values():
            digest.update("\0".join(map(str, column)).encode() + b"\1")
        for sentence in self.sentences:
            digest.update(sentence.as_py().encode() + b"\n")
        return digest.hexdigest()


def read_training_cells(
    shards: Sequence[Path],
    columns: Collection[str],
    split: str,
    splits: pd.DataFrame | None = None,
    words: Mapping[str, str] | None = None,
) -> TrainingCells:
    """Cells of a split that have genes, in the order of the shards.

    Parameters
    ----------
    shards
        Parquet files of SENTENCES.
    columns
        Of obs, beside those that are always read; those that no sample has are left out.
    split
        "train" or "validation".
    splits
        Splits of all cells, from `read_splits`, where they differ from those in the shards.
    words
        See `c2sflow.sentences.organism_words.with_words`.

    Raises
    ------
    UserError
        If a file cannot be read, or no cell is of that split.
    """
    if split not in SPLITS[:2]:
        raise ValueError(f"cells to train on are never those of {split!r}")
    wanted = [*ALWAYS, *(name for name in dict.fromkeys(columns) if name not in ALWAYS)]
    tables, start = [], 0
    for shard in shards:
        names = _columns_of(shard, [SPLIT, *ALWAYS])
        found = [name for name in wanted if name in names]
        own = read_parquet(shard, [SPLIT, "n_genes"], "shard ")
        asked = own[SPLIT].cast(pa.string())
        if splits is not None:
            asked = pa.array(splits["split"].iloc[start : start + len(own)])
        start += len(own)
        rows = pc.and_(pc.equal(asked, split), pc.greater(own["n_genes"], 0))
        table = read_parquet(shard, found, "shard ").filter(pc.fill_null(rows, False))
        tables.append(table.select(found).replace_schema_metadata())
    texts = [table["cell_sentence"].cast(pa.large_string()) for table in tables]
    obs = pd.concat(
        [obs_frame(table.drop_columns("cell_sentence")) for table in tables], ignore_index=True
    )
    if obs.empty:
        raise UserError(f"no cell with genes is of the split {split!r}")
    sentences = pa.concat_arrays([chunk for text in texts for chunk in text.chunks])
    return TrainingCells(with_words(obs, words or {}), sentences)


def read_splits(shards: Iterable[Path]) -> pd.DataFrame:
    """cell_id, sample and split of every cell, test cells among them.

    Raises
    ------
    UserError
        If a cell has no split, or one of another name.
    """
    tables = []
    for shard in shards:
        _columns_of(shard, [SPLIT, *CELL])
        tables.append(read_parquet(shard, [*CELL, SPLIT], "shard ").to_pandas())
    cells = pd.concat(tables, ignore_index=True).rename(columns={SPLIT: "split"})
    strange = cells.loc[~cells["split"].isin([*SPLITS, UNUSED]), "split"]
    if len(strange):
        raise UserError(
            f"obs[{SPLIT!r}] holds {strange.iloc[0]!r}; every cell is of {', '.join(SPLITS)}"
        )
    return cells.astype(dict.fromkeys(cells, str))


def read_obs(shards: Iterable[Path], columns: Collection[str]) -> pd.DataFrame:
    """sample and these columns of obs of every cell, in the order of the shards."""
    frames = []
    for shard in shards:
        names = column_names(shard, "shard ")
        found = [name for name in dict.fromkeys(["sample", *columns]) if name in names]
        frames.append(obs_frame(read_parquet(shard, found, "shard ").select(found)))
    return pd.concat(frames, ignore_index=True)


def _columns_of(shard: Path, needed: Iterable[str]) -> list[str]:
    names = column_names(shard, "shard ")
    for name in needed:
        if name not in names:
            raise UserError(f"shard {shard.name} has no column {name!r}; create it again")
    return names
