"""Shards of groups: the form of the shards of cells, with a group's sentences in a row."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from c2sflow.common.errors import UserError
from c2sflow.common.files import remedy, write_beside
from c2sflow.common.parquet import read_parquet
from c2sflow.common.progress import progress_bar
from c2sflow.data.concat import concat_obs
from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.obs.shard_columns import N_GENES
from c2sflow.sentences.groups.drawing import Grouping, Groups, describe_groups, draw_groups
from c2sflow.sentences.groups.prompts import NUM_CELLS
from c2sflow.sentences.groups.shared import shared_values
from c2sflow.sentences.groups.text import join_sentences
from c2sflow.sentences.shards import ShardWriter, obs_frame, obs_table, shard_bounds

LOGGER = logging.getLogger(__name__)

SEVERAL = "several"  # samples or organisms of a group
PIECE = 256  # groups written at once
MEMBERS = ("sample", "cell_id", "group", "place")  # of <name>.members.parquet


def write_groups(
    obs_files: Sequence[Path],
    shard_files: Sequence[Path],
    name: str,
    outdir: Path,
    grouping: Grouping,
    *,
    shard_size: int | str = "auto",
    points: np.ndarray | None = None,
) -> dict:
    """Write ``shards/<name>.groups.<nnnnn>.parquet`` and ``<name>.members.parquet``.

    A shard holds cell_id (of the group), the columns of obs as far as the cells of a group share
    their values, num_cells, cell_sentence (see `c2sflow.sentences.groups.text`) and n_genes (of the
    longest sentence): what EMBED and ANNOTATE read of cells. The members are sample, cell_id, group
    and place (from 1, in the prompt), a row a cell. Memory holds obs and a piece of the groups; the
    sentences wait in a temporary file in `outdir`.

    Parameters
    ----------
    obs_files
        ``<sample>.obs.parquet`` of SENTENCES.
    shard_files
        Shards of SENTENCES of these samples.
    name
        Of the sample, or of all.
    grouping, points
        See `c2sflow.sentences.groups.drawing.draw_groups`.
    shard_size
        Most cells in the groups of a shard, or "auto" (`c2sflow.sentences.shards.shard_bounds`).

    Returns
    -------
    by, cells_per_prompt, n_cells, what `describe_groups` gives, shards (name and n_groups of each)
    and warnings.

    Raises
    ------
    UserError
        If a file is missing or broken, or the shards are not those of the cells.
    """
    cells = concat_obs([_read_obs(path) for path in obs_files])
    groups = draw_groups(cells, grouping, points)
    figures, warnings = describe_groups(groups, grouping)
    ids = [f"{name}|group_{number:05d}" for number in range(groups.n_groups)]
    _write_members(outdir / f"{name}.members.parquet", cells, groups, ids)
    table = _group_table(cells, groups, ids)
    bounds = _bounds(cells, groups, shard_size, grouping.n_cells)
    members = np.split(groups.order, groups.starts[1:])
    shards = []
    outdir.mkdir(parents=True, exist_ok=True)
    with _Sentences(shard_files, cells, outdir) as sentences:
        bar = progress_bar(groups.n_groups, "group")
        for number, (start, stop) in enumerate(bounds):
            shard = f"{name}.groups.{number:05d}"
            path = outdir / "shards" / f"{shard}.parquet"
            with write_beside(path) as partial, ShardWriter(partial) as writer:
                for first in range(start, stop, PIECE):
                    last = min(first + PIECE, stop)
                    texts = pa.array([sentences.text(rows) for rows in members[first:last]])
                    piece = table.slice(first, last - first)
                    writer.write(piece.append_column("cell_sentence", texts))
                    bar.update(last - first)
            shards.append({"name": shard, "n_groups": stop - start})
        bar.close()
    LOGGER.info("%s: %d groups of %d cells", name, groups.n_groups, len(groups.order))
    asked = {"by": grouping.by, "cells_per_prompt": grouping.n_cells}
    return {**asked, "n_cells": len(cells), **figures, "shards": shards, "warnings": warnings}


def _read_obs(path: Path) -> pd.DataFrame:
    frame = obs_frame(read_parquet(path))
    return frame.set_axis(frame["cell_id"].astype(str), axis=0)


def _write_members(path: Path, cells: pd.DataFrame, groups: Groups, ids: Sequence[str]) -> None:
    own = cells[["sample", "cell_id"]].iloc[groups.order].astype(str)
    place = np.arange(len(groups.order)) - np.repeat(groups.starts, groups.sizes) + 1
    group = np.array(ids, dtype=object)[groups.numbers()]
    columns = zip(
        MEMBERS, [own["sample"], own["cell_id"], group, place.astype(np.int32)], strict=True
    )
    with write_beside(path) as partial:
        pd.DataFrame({name: np.asarray(values) for name, values in columns}).to_parquet(
            partial, index=False
        )


def _group_table(cells: pd.DataFrame, groups: Groups, ids: Sequence[str]) -> pa.Table:
    """The shards' columns but the sentences, of all groups: a column has one type in all shards."""
    obs = cells.drop(columns=[name for name in ("shard", N_GENES) if name in cells])
    frame = shared_values(obs, groups.order, groups.starts).set_axis(list(ids), axis=0)
    frame["sample"] = frame["sample"].astype(object).fillna(SEVERAL)
    if ORGANISM in frame:
        frame["organism"] = frame[ORGANISM].astype(object).fillna(SEVERAL)
    frame[NUM_CELLS] = groups.sizes.astype(np.int32)
    table = obs_table(frame)
    lengths = cells[N_GENES].to_numpy()[groups.order]
    longest = np.maximum.reduceat(lengths, groups.starts) if len(ids) else lengths
    return table.append_column("n_genes", pa.array(longest, pa.int32()))


def _bounds(
    cells: pd.DataFrame, groups: Groups, shard_size: int | str, most: int
) -> list[tuple[int, int]]:
    """First group of each shard and the first after it."""
    if not groups.n_groups:
        return []
    lengths = cells[N_GENES].to_numpy()[groups.order]
    size = shard_size if shard_size == "auto" else max(1, int(shard_size) // most)
    return shard_bounds(np.add.reduceat(lengths, groups.starts), size)


class _Sentences:
    """The cells' sentences in a temporary file, so that those of a group can be read together.

    Parameters
    ----------
    shards
        Files that hold them.
    cells
        cell_id and shard of each cell, in the order of the shards' rows.
    folder
        Where the file is, until it is closed.
    """

    def __init__(self, shards: Sequence[Path], cells: pd.DataFrame, folder: Path):
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (see __exit__)
        self._begins, self._lengths = np.zeros((2, len(cells)), dtype=np.int64)
        rows = cells.groupby("shard", observed=True).indices
        for path in sorted(shards):
            self._add(path, cells["cell_id"], rows.pop(path.stem, np.empty(0, dtype=np.int64)))
        if rows:
            raise UserError(f"shard {next(iter(rows))}: its Parquet file is missing")
        self._file.flush()

    def __enter__(self) -> _Sentences:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _add(self, path: Path, ids: pd.Series, rows: np.ndarray) -> None:
        table = read_parquet(path, ["cell_id", "cell_sentence"], of="shard ")
        if table["cell_id"].to_pylist() != ids.iloc[rows].astype(str).tolist():
            raise UserError(f"shard {path.name}: not the cells of its sample; {remedy(path)}")
        texts = [text.encode() for text in table["cell_sentence"].to_pylist()]
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        self._begins[rows] = self._file.tell() + np.cumsum(lengths) - lengths
        self._lengths[rows] = lengths
        self._file.writelines(texts)

    def text(self, rows: np.ndarray) -> str:
        """The sentences of these cells, joined."""
        places = zip(self._lengths[rows].tolist(), self._begins[rows].tolist(), strict=True)
        return join_sentences([os.pread(self._file.fileno(), *place).decode() for place in places])
