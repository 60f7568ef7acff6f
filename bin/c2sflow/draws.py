"""Chance that belongs to a cell: the same whatever the order of the cells, and in any shard."""

from __future__ import annotations

import hashlib

import pandas as pd


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
