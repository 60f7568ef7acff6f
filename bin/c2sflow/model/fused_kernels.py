"""The kernels of `c2sflow.model.fused_layers`, in Triton: each reads and writes once.

Each computes in float32 and rounds once. `TRITON_INTERPRET=1`, set before Triton is imported, runs
them on a CPU, which is how the tests do.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

import torch
import triton
import triton.language as tl

GATED = 2048  # values of a program


def normalize(
    states: torch.Tensor, weight: torch.Tensor, eps: float, offset: float
) -> torch.Tensor:
    """As `c2sflow.model.fused_layers.rms_norm`."""
    states = states.contiguous()
    output = torch.empty_like(states)
    width = states.shape[-1]
    with torch.cuda.device_of(states):  # Triton takes the current GPU
        normalize_row[(states.numel() // width,)](
            states, weight, output, eps, offset,
            WIDTH=width, WIDE=triton.next_power_of_2(width), num_warps=8, enable_fp_fusion=True,
        )  # fmt: skip
    return output


def gate(gates: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """As `c2sflow.model.fused_layers.gated`."""
    gates, states = gates.contiguous(), states.contiguous()
    output = torch.empty_like(states)
    size = states.numel()
    with torch.cuda.device_of(states):
        grid = (triton.cdiv(size, GATED),)
        gate_part[grid](gates, states, output, size, PART=GATED, num_warps=8, enable_fp_fusion=True)
    return output


def rotate(
    query: torch.Tensor, keys: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `c2sflow.model.fused_layers.rotated`."""
    n_rows, _, length, width = query.shape
    cosines, sines = (
        tensor.expand(n_rows, length, width).contiguous() for tensor in (cosines, sines)
    )
    turned = [_by_token(states) for states in (query, keys)]
    made = [torch.empty_like(states) for states in turned]
    with torch.cuda.device_of(query):
        rotate_token[(n_rows * length,)](
            *turned, *made, cosines, sines, *(states.stride(0) for states in turned),
            QUERIES=query.shape[1], QUERIES_WIDE=triton.next_power_of_2(query.shape[1]),
            KEYS=keys.shape[1], KEYS_WIDE=triton.next_power_of_2(keys.shape[1]),
            HALF=width // 2, HALF_WIDE=triton.next_power_of_2(width // 2),
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    own = (states.view(n_rows, length, -1, width).transpose(1, 2) for states in made)
    return next(own), next(own)


def quantize(
    values: torch.Tensor, kind: torch.dtype, largest: float, smallest: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `c2sflow.model.fp8.rounded`, of rows of a matrix."""
    values = values.contiguous()
    n_rows, width = values.shape
    output = torch.empty_like(values, dtype=kind)
    scale = values.new_empty(n_rows, 1, dtype=torch.float32)
    with torch.cuda.device_of(values):
        quantize_row[(n_rows,)](
            values, output, scale, largest, smallest,
            WIDTH=width, WIDE=triton.next_power_of_2(width), num_warps=8, enable_fp_fusion=True,
        )  # fmt: skip
    return output, scale


def _by_token(states: torch.Tensor) -> torch.Tensor:
    """(n_rows * length, n_heads, head_dim), heads behind each other, of (n_rows, n_heads, …)."""
    flat = states.transpose(1, 2).flatten(0, 1)
    return flat if flat.stride()[1:] == (flat.shape[2], 1) else flat.contiguous()


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


@triton.jit
def gate_part(gates, states, output, size, PART: tl.constexpr):
    """Some values: GELU of the gate by tanh, times the state."""
    place = tl.program_id(0).to(tl.int64) * PART + tl.arange(0, PART)
    inside = place < size
    x = tl.load(gates + place, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(states + place, mask=inside, other=0.0).to(tl.float32)
    inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)  # sqrt(2 / pi)
    shrunk = tl.exp(-2 * tl.abs(inner))
    size_of_tanh = (1 - shrunk) / (1 + shrunk)
    tanh = tl.where(inner < 0, -size_of_tanh, size_of_tanh)
    result = 0.5 * x * (1 + tanh) * y
    tl.store(output + place, result.to(output.dtype.element_ty), mask=inside)


@triton.jit
def quantize_row(
    values, output, scales, largest, smallest, WIDTH: tl.constexpr, WIDE: tl.constexpr
):
    """One row, scaled so that its largest magnitude is the largest of the format."""
    columns = tl.arange(0, WIDE)
    inside = columns < WIDTH
    row = tl.program_id(0).to(tl.int64)
    own = tl.load(values + row * WIDTH + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(own), 0), smallest * largest) / largest
    small = tl.minimum(tl.maximum(own / scale, -largest), largest)
    tl.store(output + row * WIDTH + columns, small.to(output.dtype.element_ty), mask=inside)
    tl.store(scales + row, scale)


@triton.jit
def rotate_token(
    query, keys, new_query, new_keys, cosines, sines, query_token, key_token,
    QUERIES: tl.constexpr, QUERIES_WIDE: tl.constexpr, KEYS: tl.constexpr, KEYS_WIDE: tl.constexpr,
    HALF: tl.constexpr, HALF_WIDE: tl.constexpr,
):  # fmt: skip
    """The query and key heads of one token."""
    token = tl.program_id(0).to(tl.int64)
    _rotate_heads(query, new_query, cosines, sines, token, query_token,
                  QUERIES, QUERIES_WIDE, HALF, HALF_WIDE)  # fmt: skip
    _rotate_heads(keys, new_keys, cosines, sines, token, key_token,
                  KEYS, KEYS_WIDE, HALF, HALF_WIDE)  # fmt: skip


@triton.jit
def _rotate_heads(
    states, output, cosines, sines, token, stride,
    HEADS: tl.constexpr, HEADS_WIDE: tl.constexpr, HALF: tl.constexpr, HALF_WIDE: tl.constexpr,
):  # fmt: skip
    heads, columns = tl.arange(0, HEADS_WIDE)[:, None], tl.arange(0, HALF_WIDE)[None, :]
    inside = (heads < HEADS) & (columns < HALF)
    place = heads * 2 * HALF + columns
    angle = token * 2 * HALF + columns
    is_angle = columns < HALF
    own = states + token * stride + place
    first = tl.load(own, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(own + HALF, mask=inside, other=0.0).to(tl.float32)
    cos_first = tl.load(cosines + angle, mask=is_angle, other=0.0).to(tl.float32)
    cos_second = tl.load(cosines + angle + HALF, mask=is_angle, other=0.0).to(tl.float32)
    sin_first = tl.load(sines + angle, mask=is_angle, other=0.0).to(tl.float32)
    sin_second = tl.load(sines + angle + HALF, mask=is_angle, other=0.0).to(tl.float32)
    made = output + token * HEADS * 2 * HALF + place
    turned = first * cos_first - second * sin_first
    tl.store(made, turned.to(output.dtype.element_ty), mask=inside)
    turned = second * cos_second + first * sin_second
    tl.store(made + HALF, turned.to(output.dtype.element_ty), mask=inside)
