"""Whether a faster way computes what the plain one does: asked before it is believed."""

from __future__ import annotations

import torch

# Largest relative difference of vectors and logits: rounding of half precision, fused or not.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.05}


def relative_difference(computed: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference, relative to the norm of what is expected."""
    return ((computed - expected).float().norm() / expected.float().norm()).item()


def disagreement_of(
    what: str, computed: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype | None = None
) -> str | None:
    """How a result differs by more than rounding, or None.

    Parameters
    ----------
    what
        Name of the result, a plural.
    dtype
        In which it was computed; None for that of `expected`.
    """
    difference = relative_difference(computed, expected)
    if difference <= TOLERANCE[dtype or expected.dtype]:
        return None
    return f"{what} differ by {100 * difference:.1f} %"
