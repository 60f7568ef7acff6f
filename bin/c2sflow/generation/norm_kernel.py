"""The kernel of `c2sflow.generation.fused_norms`, in Triton."""

# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

import torch
import triton
import triton.language as tl


def normalize(
    states: torch.Tensor, weight: torch.Tensor, eps: float, offset: float
) -> torch.Tensor:
    """As `c2sflow.generation.fused_norms.rms_norm`."""
    states = states.contiguous()
    output = torch.empty_like(states)
    width = states.shape[-1]
    normalize_row[(states.numel() // width,)](
        states, weight, output, eps, offset,
        WIDTH=width, WIDE=triton.next_power_of_2(width), num_warps=8, enable_fp_fusion=True,
    )  # fmt: skip
    return output


@triton.jit
def normalize_row(
    states, weight, output, eps, offset,
    WIDTH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One row of the states."""
    columns = tl.arange(0, WIDE)
    inside = columns < WIDTH
    place = tl.program_id(0).to(tl.int64) * WIDTH + columns
    values = tl.load(states + place, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values, 0) / WIDTH + eps)
    factors = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32) + offset
    result = values * scale * factors
    tl.store(output + place, result.to(output.dtype.element_ty), mask=inside)
