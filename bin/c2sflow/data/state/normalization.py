"""States of values, and their transformation to log-normalised expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

InputState = Literal["counts", "normalized", "lognormalized"]
LogBase = Literal["e", 2, 10]

STATES: tuple[InputState, ...] = ("counts", "normalized", "lognormalized")
LOG_BASES: dict[LogBase, float] = {"e": np.e, 2: 2.0, 10: 10.0}
LOG_NAMES = {"e": "natural log", 2: "log base 2", 10: "log base 10"}
HOW_TO_DECLARE = "declare them with --input_state counts, normalized or lognormalized"


@dataclass(frozen=True)
class State:
    """State of the values; `log_base` for log-normalised ones only."""

    name: InputState
    log_base: LogBase | None = None

    def __str__(self) -> str:
        """For the log."""
        if self.name == "counts":
            return "raw counts"
        if self.name == "normalized":
            return "already normalised: not normalised again, only logged"
        return f"already log-normalised ({LOG_NAMES[self.log_base]}): not normalised again"


def are_counts(data: np.ndarray) -> bool:
    """Whether all values are integers, whatever their type."""
    return data.dtype.kind in "iub" or bool((data == np.round(data)).all())


TARGET_SUM = 1e4
LOG_BASE: LogBase = 10  # of every file between the steps; results have that of --log_base


def log_ratio(base: LogBase) -> float:
    """What a logarithm to `LOG_BASE` is multiplied by to be one to another base."""
    return float(np.log(LOG_BASES[LOG_BASE]) / np.log(LOG_BASES[base]))


def linear_values(block: sparse.csr_matrix, state: State) -> sparse.csr_matrix:
    """Values before the logarithm: what the metrics are computed from."""
    if state.log_base is None:
        return block
    linear = block.astype(np.float64)
    linear.data = np.expm1(linear.data * np.log(LOG_BASES[state.log_base]))
    return linear


def normalise(
    block: sparse.csr_matrix,
    state: State,
    rescale: bool = False,
    factors: np.ndarray | None = None,
) -> sparse.csr_matrix:
    """To log base 10 of 1 + values per 10,000; what is done already is not done again.

    Parameters
    ----------
    block
        Cells × kept genes.
    state
        Of the values: counts are normalised and logged, normalised values logged, logged ones
        only brought to base 10.
    rescale
        Bring each row to 10,000 whatever it was normalised to: bulk samples in transcripts per
        million become comparable with cells.
    factors
        Of `row_factors`, if those genes of the cells are brought to 10,000 that are in another
        block.

    Returns
    -------
    float32 CSR, of the block's own indices and row pointers.
    """
    if factors is None:
        factors = row_factors(block, state, rescale)
    if rescale and state.log_base is not None:
        block, state = linear_values(block, state), State("normalized")
    values = block.data.astype(np.float64)
    if factors is not None:
        values *= np.repeat(factors, np.diff(block.indptr))
    if state.log_base is None:
        np.log1p(values, out=values)
        values /= np.log(LOG_BASES[LOG_BASE])
    else:
        values *= np.log(LOG_BASES[state.log_base]) / np.log(LOG_BASES[LOG_BASE])
    return _with_values(block, values.astype(np.float32))


def row_factors(block: sparse.csr_matrix, state: State, rescale: bool = False) -> np.ndarray | None:
    """What brings each row to 10,000, of its values before the logarithm.

    Returns
    -------
    float64 (n_rows,), 0 for rows without values; None where rows are left as they are.
    """
    if state.name != "counts" and not rescale:
        return None
    linear = linear_values(block, state)
    totals = np.ravel(_with_values(linear, linear.data.astype(np.float64)).sum(axis=1))
    return np.divide(TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)


def _with_values(block: sparse.csr_matrix, values: np.ndarray) -> sparse.csr_matrix:
    """The matrix with other values at the same places, which are not copied."""
    return sparse.csr_matrix((values, block.indices, block.indptr), block.shape)
