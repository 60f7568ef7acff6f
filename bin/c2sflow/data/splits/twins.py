"""Cells that are another cell once more: all of them go to one split.

A cell that is in the data twice, in two files or under two names, would be trained on and held out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from c2sflow.common.parquet import column_names, read_parquet
from c2sflow.data.obs.shard_columns import CONTENT
from c2sflow.data.splits.splits import SPLITS, TEST, TRAIN, VALIDATION

FIRST = (TEST, VALIDATION, TRAIN)  # held out goes before trained on


def with_one_split(splits: pd.DataFrame, keys: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The cells' splits, those of cells that are the same made one; how many changed.

    Parameters
    ----------
    splits
        Column split: see `c2sflow.training.cells.read_splits`. Cells that are not used stay so.
    keys
        Cells that agree in any of its columns are the same; None agrees with nothing. See
        `cell_keys`.
    """
    ranks = splits["split"].map({name: rank for rank, name in enumerate(FIRST)})
    found, before = ranks, None
    while before is None or not found.equals(before):  # from key to key
        before = found
        for name in keys:
            first = found.groupby(keys[name].to_numpy()).transform("min")
            found = found.where(found.isna() | ~(first < found), first)
    moved = (found < ranks).to_numpy()
    names = found[moved].astype(int).map(dict(enumerate(FIRST)))
    return splits.assign(split=splits["split"].mask(moved, names)), int(moved.sum())


def cell_keys(shards: Sequence[Path]) -> pd.DataFrame:
    """sentence and content of each cell as hashes, in the order of the shards.

    A sentence that another cell has is its twin's; so are the genes and values of another cell, in
    whose sentence has ties in another order. None for a cell without genes, or without that
    column.
    """
    parts = []
    for shard in shards:
        names = column_names(shard, "shard ")
        columns = [name for name in ("cell_sentence", CONTENT) if name in names]
        table = read_parquet(shard, columns, "shard ")
        sentences = [_digest(text.as_py()) for text in table["cell_sentence"]]
        part = pd.DataFrame({"sentence": pd.Series(sentences, dtype=object)})
        part["content"] = table[CONTENT].to_pandas() if CONTENT in columns else None
        parts.append(part.astype(object))
    keys = pd.concat(parts, ignore_index=True)
    return keys.mask(keys["sentence"].isna(), None)


def _digest(sentence: str | None) -> str | None:
    if not sentence:
        return None
    return hashlib.blake2b(sentence.encode(), digest_size=12).hexdigest()


def twin_warnings(n_moved: int, splits: pd.DataFrame) -> list[str]:
    """Warnings about cells that changed their split."""
    if not n_moved:
        return []
    counts = ", ".join(f"{(splits['split'] == name).sum()} for {name}" for name in SPLITS)
    return [
        f"{n_moved} cells are copies of a held-out or validation cell, and were moved "
        f"to its split (now {counts}): the same cell is in the data more than once"
    ]
