"""Where a sample's cells are cut into shards, each the work of one GPU task."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

# Genes in sentences that make minutes of work: 6 million tokens at three tokens a gene, so five
# minutes at 20,000 tokens a second. Not more, for on a CPU the same shard takes hours.
SHARD_GENES = 2_000_000
PROMPT_GENES = 20  # what a prompt's own words cost, in genes
SHARD_ENTRIES = 2**26  # values of the matrix in memory at once: 0.5 GiB


def genes_per_cell(h5ad: str | Path) -> np.ndarray:
    """int64 (n_obs,): the entries that each row of an h5ad of QC stores, from X/indptr alone."""
    with h5py.File(h5ad) as file:
        return np.diff(file["X/indptr"][:].astype(np.int64))


def shard_bounds(
    n_genes: np.ndarray, shard_size: int | str = "auto", max_genes: int | None = None
) -> list[tuple[int, int]]:
    """First cell of each shard and the first after it: consecutive cells, each in one shard.

    Parameters
    ----------
    n_genes
        int (n_obs,), at least one cell: genes that each cell expresses.
    shard_size
        Most cells in a shard; or "auto": as few shards as hold `SHARD_GENES` genes of sentences
        each, with about the same number of genes (a cell's, at most, more or less).
    max_genes
        Longest sentence; None for no limit.
    """
    n_obs = len(n_genes)
    if shard_size != "auto":
        starts = range(0, n_obs, int(shard_size))
        return list(pairwise([*starts, n_obs]))
    work = np.minimum(n_genes, max_genes or np.inf).astype(np.int64) + PROMPT_GENES
    ends = np.cumsum(work)
    n_shards = max(-(-ends[-1] // SHARD_GENES), -(-n_genes.sum(dtype=np.int64) // SHARD_ENTRIES))
    # The shard of a cell is where its middle falls.
    numbers = (2 * ends - work) * n_shards // (2 * ends[-1])
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return list(pairwise([*starts.tolist(), n_obs]))
