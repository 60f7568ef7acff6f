"""Cells drawn for a figure or a map: at random by seed, in equal shares."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError

LOGGER = logging.getLogger(__name__)
CELLS_OF_A_TASK = 16  # of ATTENTION: each takes some seconds of a GPU, loading 27B minutes


def cell_draws(cells: pd.DataFrame, seed: int, *more: str) -> list[bytes]:
    """Keys to sort cells by at random.

    Parameters
    ----------
    cells
        sample and cell_id.
    seed, more
        What else decides: another seed or condition gives another order.

    Returns
    -------
    A hash of each cell, with its name behind it should two hashes be the same.
    """
    names = [
        "\0".join(map(str, (seed, *cell, *more))).encode()
        for cell in zip(cells["sample"], cells["cell_id"], strict=True)
    ]
    return [hashlib.blake2b(name, digest_size=8).digest() + name for name in names]


class Draws:
    """Cells drawn at random under many keys, such as conditions: each cell is hashed once.

    The draw of a cell under a key is its hash (BLAKE2b, 64 bits, of seed, sample and cell_id) XOR
    that of the key, mixed by the finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): a
    function of these alone, not of the cell's place or of the other cells.

    Parameters
    ----------
    cells
        sample and cell_id.
    seed
        Another one draws other cells.
    """

    def __init__(self, cells: pd.DataFrame, seed: int):
        keys = cell_draws(cells, seed)
        self._names = [key[8:] for key in keys]
        self._hashes = np.frombuffer(b"".join(key[:8] for key in keys), "<u8")

    def lowest(self, rows: np.ndarray, most: int, key: str) -> np.ndarray:
        """Of the cells at these places the `most` whose draws are lowest, in the order given."""
        if most >= len(rows):
            return rows
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        draws = mixed(self._hashes[rows] ^ np.frombuffer(digest, "<u8"))
        chosen = np.flatnonzero(draws <= np.partition(draws, most - 1)[most - 1])
        if len(chosen) > most:  # two hashes are the same: their names decide
            ordered = sorted(chosen, key=lambda n: (draws[n], self._names[rows[n]]))
            chosen = np.sort(ordered[:most])
        return rows[chosen]


def mixed(bits: np.ndarray) -> np.ndarray:
    """splitmix64's output for each state, uint64: one to one, each bit depends on all."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def equal_shares(total: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Share `total` equally; what a group is too small for goes to the others.

    Groups that hold enough differ by at most 1; the largest get what is left over.
    """
    shares, left = {}, total
    for number, name in enumerate(sorted(sizes, key=lambda name: (sizes[name], name))):
        shares[name] = min(sizes[name], left // (len(sizes) - number))
        left -= shares[name]
    return shares


def choose_cells(
    cells: pd.DataFrame, n_cells: int, *, label_column: str | None = None, seed: int = 42
) -> pd.DataFrame:
    """Choose cells evenly from the labels.

    Parameters
    ----------
    cells
        shard, cell_id, sample and `label_column`, all cells that passed QC, in order.
    n_cells
        Cells to choose in all; fewer if there are not as many.
    label_column
        Column of obs whose labels share the cells; cells without a label are left out. None: the
        samples share them.
    seed
        Within a label, cells are chosen by a hash of seed, sample and cell_id: neither the order
        of the cells nor the shards matter.

    Returns
    -------
    shard, cell_id and label (the sample without `label_column`), in the order of the cells.

    Raises
    ------
    UserError
        If no cell has a label.
    """
    labels = cells[label_column or "sample"]
    labelled = cells.loc[labels.notna(), ["shard", "cell_id", "sample"]]
    labelled = labelled.assign(label=labels[labels.notna()].astype(str))
    if labelled.empty:
        raise UserError(
            f"--attention_maps: no cell that passed QC has a label in --label_column {label_column}"
        )
    shares = equal_shares(n_cells, labelled["label"].value_counts().to_dict())
    drawn = labelled.assign(draw=cell_draws(labelled, seed)).sort_values("draw")
    place = drawn.groupby("label").cumcount()
    kept = place.reindex(labelled.index) < labelled["label"].map(shares)
    chosen = labelled.loc[kept, ["shard", "cell_id", "label"]]
    _log_shares(chosen["label"].value_counts(), shares)
    return chosen.reset_index(drop=True)


def attention_tasks(shards: Iterable[str]) -> dict[str, str]:
    """Tasks of ATTENTION, each of which loads the model: neighbouring shards share one.

    Parameters
    ----------
    shards
        The shard of each chosen cell.

    Returns
    -------
    The name of its task for each shard. A task has `CELLS_OF_A_TASK` cells at most, or one shard.
    """
    tasks = {}
    number, n_cells = -1, CELLS_OF_A_TASK
    for shard, n_chosen in sorted(Counter(shards).items()):
        if n_cells + n_chosen > CELLS_OF_A_TASK:
            number, n_cells = number + 1, 0
        n_cells += n_chosen
        tasks[shard] = f"attention.{number:05d}"
    return tasks


def _log_shares(counts: pd.Series, shares: Mapping[str, int]) -> None:
    LOGGER.info(
        "attention maps of %d cells: %d labels, %d to %d cells each",
        counts.sum(), len(counts), counts.min(), counts.max(),
    )  # fmt: skip
    if without := [name for name, share in shares.items() if share == 0]:
        LOGGER.warning(
            "%d labels get no map: use --attention_maps %d for one map per label",
            len(without), len(shares),
        )  # fmt: skip
