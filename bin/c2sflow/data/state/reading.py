"""Which cells of a file the state of its values is decided from, and their evidence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from c2sflow.data.backed import CellData
from c2sflow.data.state.cell_names import batch_columns
from c2sflow.data.state.decision import Decision, check_declared, decide_state
from c2sflow.data.state.evidence import Evidence, cell_evidence
from c2sflow.data.state.normalization import STATES, State

# Every cell of a file of up to so many cells and values is looked at; fewer values where they are
# not stored by rows and have to be sorted first.
MOST_CELLS, MOST_VALUES, MOST_UNSORTED = 100_000, 200_000_000, 20_000_000
# Of larger files: blocks of cells spread over the file, and some of each batch.
N_BLOCKS, BLOCK, UNSORTED_BLOCKS = 384, 64, 64
PER_BATCH = 8
FEW_CELLS = 512  # a first look is at so many


def find_state(data: CellData, declared: str, where: str) -> tuple[Decision, Evidence]:
    """State of the values of a file, and the evidence of the cells that were looked at.

    Parameters
    ----------
    data
        The open input.
    declared
        One of `STATES`; anything else: to be found.
    where
        The sample's name and file, for messages.

    Raises
    ------
    UserError
        See `c2sflow.data.state.decision.decide_state` and `check_declared`.
    """
    evidence, cells = read_evidence(data)
    obs = data.obs
    if len(evidence) < data.n_obs:
        obs, where = obs.iloc[cells], f"{where}, {len(cells):,} of {data.n_obs:,} cells looked at"
    if declared not in STATES:
        return decide_state(evidence, obs, where), evidence
    recorded = data.recorded("log1p")
    # scanpy records no base for the natural logarithm.
    base = (recorded.get("base") or np.e) if isinstance(recorded, dict) else None
    return check_declared(evidence, obs, declared, where, base), evidence


def read_evidence(data: CellData) -> tuple[Evidence, np.ndarray]:
    """Evidence of all cells, or of a sample of a large file, and their positions."""
    if data.n_obs <= FEW_CELLS and data.reads in data.made:
        return data.made[data.reads], np.arange(data.n_obs)
    most = MOST_VALUES if data.by_rows else MOST_UNSORTED
    if data.n_obs <= MOST_CELLS and data.n_stored <= most:
        parts = [cell_evidence(block) for _, block in data.chunks()]
        return Evidence.concat(parts), np.arange(data.n_obs)
    cells = choose_cells(data.obs, N_BLOCKS if data.by_rows else UNSORTED_BLOCKS)
    return Evidence.concat([cell_evidence(block) for block in data.blocks(cells)]), cells


def sample_state(data: CellData, matrix: str, genes: np.ndarray) -> State:
    """State of a matrix, by a sample of its cells.

    Parameters
    ----------
    data
        The open input.
    matrix
        Path of one of its matrices, read or not.
    genes
        bool (n_columns,): the columns that are genes.

    Raises
    ------
    UserError
        See `c2sflow.data.state.decision.decide_state`.
    """
    rows = data.sample_rows(FEW_CELLS, matrix=matrix)
    evidence = cell_evidence(rows if genes.all() else rows[:, genes])
    if data.n_obs <= FEW_CELLS:  # all cells: `read_evidence` would look at the same
        data.made[matrix, None if genes.all() else np.flatnonzero(genes).tobytes()] = evidence
    obs = pd.DataFrame(index=np.arange(rows.shape[0]).astype(str))
    return decide_state(evidence, obs, "").state


def choose_cells(obs: pd.DataFrame, n_blocks: int = N_BLOCKS) -> np.ndarray:
    """Cells of blocks spread evenly, and of each value of the columns that may be batches.

    Returns
    -------
    Positions in ascending order.
    """
    n_cells = len(obs)
    starts = np.linspace(0, max(0, n_cells - BLOCK), n_blocks).astype(int)
    chosen = np.unique(np.minimum(starts[:, None] + np.arange(BLOCK), n_cells - 1))
    parts = [chosen]
    for name in batch_columns(obs):
        codes, _ = pd.factorize(obs[name])
        n_seen = np.bincount(codes[chosen][codes[chosen] >= 0], minlength=codes.max() + 1)
        rare = np.flatnonzero(np.isin(codes, np.flatnonzero(n_seen < PER_BATCH)))
        rank = pd.Series(codes[rare]).groupby(codes[rare]).cumcount().to_numpy()
        parts.append(rare[rank < PER_BATCH])
    return np.unique(np.concatenate(parts))
