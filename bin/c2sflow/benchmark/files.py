"""h5ad files for other tools, written block by block from the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.common.files import write_beside
from c2sflow.data.h5ad import RowWriter, create_h5ad, write_element
from c2sflow.data.result_cells import ResultCells

BLOCK = 2048  # cells at a time


@dataclass(frozen=True)
class Part:
    """Some cells of a result file, with what obs has of them.

    Attributes
    ----------
    cells, rows
        The file, and its rows.
    names
        Names of these cells.
    obs
        Column to the value of all of them.
    """

    cells: ResultCells
    rows: np.ndarray
    names: Sequence[str]
    obs: dict[str, str]


def write_parts(
    path: Path, parts: Iterable[Part], genes: pd.Index, counts: bool, log_base: float
) -> None:
    """Write parts one below the other.

    Parameters
    ----------
    counts
        X holds counts; otherwise the natural logarithm of 1 + expression at 10,000 a cell.
    log_base
        Base of X in the result files.
    """
    parts = list(parts)
    tables = [pd.DataFrame(part.obs, index=pd.Index(part.names)) for part in parts]
    obs = pd.concat(tables).astype("category")
    with (
        write_beside(path) as partial,
        create_h5ad(partial, obs, pd.DataFrame(index=genes)) as file,
    ):
        matrix = RowWriter(file, "X", len(genes))
        for part in parts:
            for start in range(0, len(part.rows), BLOCK):
                rows = part.rows[start : start + BLOCK]
                matrix.append(values(part.cells, rows, counts, log_base))
        if not counts:
            write_element(file, "uns", {"log1p": {"base": np.e}})


def values(
    cells: ResultCells, rows: np.ndarray, counts: bool, log_base: float
) -> sparse.csr_matrix:
    """Counts, or the natural logarithm of 1 + expression: CSR (n_rows, n_genes)."""
    if counts:
        return cells.counts(rows)
    block = cells.expression(rows)
    block.data = (block.data * np.log(log_base)).astype(np.float32)
    return block
