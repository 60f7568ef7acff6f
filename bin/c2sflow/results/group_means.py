"""Mean expression of groups of cells, from an open h5ad; memory grows with neither."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np
from scipy import sparse

from c2sflow.data.h5ad import row_blocks

SUMS = 2**26  # float32 of sums in memory at once: 256 MiB
BLOCK = 4096  # rows read at a time


def mean_expression(
    matrix: h5py.Group, groups: np.ndarray, n_groups: int
) -> Iterator[sparse.csr_matrix]:
    """Means of the rows of each group, in order, some groups at a time: CSR float32.

    The matrix is read once for as many groups as fit into `SUMS`, from the first of their cells to
    the last: groups of one sample are side by side.

    Parameters
    ----------
    matrix
        CSR in an open file.
    groups
        int64 (n_rows,): group of each row, -1 for none.
    n_groups
        Each has a row at least.
    """
    n_vars = int(matrix.attrs["shape"][1])
    sizes = np.bincount(groups[groups >= 0], minlength=n_groups)
    at_once = max(1, SUMS // max(1, n_vars))
    for first in range(0, n_groups, at_once):
        last = min(first + at_once, n_groups)
        own = np.where((groups >= first) & (groups < last), groups - first, -1)
        sums = np.zeros((last - first, n_vars), dtype=np.float32)
        members = np.flatnonzero(own >= 0)
        start, stop = int(members[0]), int(members[-1]) + 1
        blocks = row_blocks(matrix, BLOCK, start, stop)
        for begin, block in zip(range(start, stop, BLOCK), blocks, strict=True):
            chosen = np.flatnonzero(own[begin : begin + block.shape[0]] >= 0)
            if not chosen.size:
                continue
            entries = (np.ones(chosen.size, np.float32), (own[begin + chosen], chosen))
            among = sparse.csr_matrix(entries, (last - first, block.shape[0]))
            part = (among @ block).tocoo()
            sums[part.row, part.col] += part.data
        yield sparse.csr_matrix(sums / sizes[first:last, None].astype(np.float32))
