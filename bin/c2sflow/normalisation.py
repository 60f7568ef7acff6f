"""Normalising as Cell2Sentence does: 10,000 a cell, log base 10 of 1 + x; and its inverse."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from c2sflow.states import LOG_BASES, State

TARGET_SUM = 1e4
LOG_BASE = 10


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
    total_of: sparse.csr_matrix | None = None,
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
    total_of
        Cells × genes that are brought to 10,000 together, if they are others than the block's.

    Returns
    -------
    float32 CSR.
    """
    total_of = block if total_of is None else total_of
    if rescale and state.log_base is not None:
        block, total_of = linear_values(block, state), linear_values(total_of, state)
        state = State("normalized")
    values = block.astype(np.float64)
    if state.name == "counts" or rescale:
        totals = np.asarray(total_of.astype(np.float64).sum(axis=1)).ravel()
        factors = np.divide(TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)
        values.data *= np.repeat(factors, np.diff(values.indptr))
    if state.log_base is None:
        values.data = np.log1p(values.data) / np.log(LOG_BASE)
    else:
        values.data *= np.log(LOG_BASES[state.log_base]) / np.log(LOG_BASE)
    return values.astype(np.float32)
