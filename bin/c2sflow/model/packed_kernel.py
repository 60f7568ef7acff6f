"""The kernel of `c2sflow.model.packed_attention`, in Triton: flash attention over one packed row.

A program takes some queries for all the heads that share a key head, so that keys and values are
read once for these (Dao, 2023, "FlashAttention-2"). What a query sees is one stretch of keys, from
the first token of its prompt, or of its window, up to itself: no list of blocks is needed, and a
row of any length runs by the same compiled kernel. Sums are float32.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

NO_WINDOW = 2**30
LOG2_E = math.log2(math.e)  # the kernel takes powers of 2, which a GPU is made for
NARROWEST = 16  # of a product's sides
# By bytes of a value: rows of queries × heads, keys at a time, warps, stages. The first that fits
# into the card's shared memory is taken: of an H200 the first of all, measured the fastest of six.
SIZES = {
    2: ((128, 64, 8, 2), (64, 32, 8, 2), (32, 32, 4, 1), (16, 16, 4, 1)),
    4: ((32, 16, 8, 2), (16, 16, 4, 1)),
}


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    begins: torch.Tensor,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> torch.Tensor:
    """As `c2sflow.model.packed_attention.formula`; `begins` is int32 and ascends."""
    n_heads, length, width = query.shape
    n_groups = keys.shape[0]
    query, keys, values = (
        states if states.stride(2) == 1 else states.contiguous() for states in (query, keys, values)
    )
    output = query.new_empty(length, n_heads, width)
    heads = triton.next_power_of_2(n_heads // n_groups)
    wide = max(NARROWEST, triton.next_power_of_2(width))
    memory = shared_memory(query.device)
    rows, n_keys, warps, stages = sizes_for(wide, query.element_size(), memory)
    n_queries = max(1, rows // heads)
    with torch.cuda.device_of(query):  # Triton takes the current GPU
        attend_block[n_groups, triton.cdiv(length, n_queries)](
            query, keys, values, begins, output,
            *query.stride()[:2], *keys.stride()[:2], *values.stride()[:2],
            2 * LOG2_E * scaling / (softcap or 1.0), LOG2_E * (softcap or scaling),
            window or NO_WINDOW, length,
            CAPPED=softcap is not None, WIDTH=width, WIDE=wide, HEADS=n_heads // n_groups,
            HEADS_WIDE=heads, QUERIES=n_queries, KEYS=n_keys, num_warps=warps, num_stages=stages,
            enable_fp_fusion=True,
        )  # fmt: skip
    return output


def shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that a block may take."""
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin


def sizes_for(wide: int, value_bytes: int, memory: int) -> tuple[int, int, int, int]:
    """Of `SIZES` the first whose queries, and keys and values under way, fit into so much."""
    fitting = (
        sizes
        for sizes in SIZES[value_bytes]
        if (sizes[0] + 2 * sizes[1] * sizes[3]) * wide * value_bytes <= memory
    )
    return next(fitting, SIZES[value_bytes][-1])


@triton.jit(do_not_specialize=["window", "length"])
def attend_block(
    query, keys, values, begins, output,
    query_head, query_token, key_head, key_token, value_head, value_token,
    steepness, height, window, length,
    CAPPED: tl.constexpr, WIDTH: tl.constexpr, WIDE: tl.constexpr, HEADS: tl.constexpr,
    HEADS_WIDE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Some queries, for the heads of one key head."""
    group, start = tl.program_id(0), tl.program_id(1) * QUERIES
    rows, columns = tl.arange(0, HEADS_WIDE * QUERIES), tl.arange(0, WIDE)
    slots = tl.arange(0, KEYS)
    head, token = group * HEADS + rows // QUERIES, start + rows % QUERIES
    is_column = columns < WIDTH
    is_row = (rows // QUERIES < HEADS) & (token < length)
    first = tl.load(begins + token, mask=token < length, other=length)
    first = tl.maximum(first, token - window + 1)
    asked = tl.load(
        query + head.to(tl.int64)[:, None] * query_head
        + token.to(tl.int64)[:, None] * query_token + columns[None, :],
        mask=is_row[:, None] & is_column[None, :],
        other=0.0,
    )  # fmt: skip
    keys += group.to(tl.int64) * key_head
    values += group.to(tl.int64) * value_head

    highest = tl.full([HEADS_WIDE * QUERIES], -float("inf"), tl.float32)
    total = tl.zeros([HEADS_WIDE * QUERIES], tl.float32)
    result = tl.zeros([HEADS_WIDE * QUERIES, WIDE], tl.float32)
    low = tl.maximum(tl.load(begins + start), start - window + 1)  # `begins` ascends
    high = tl.minimum(start + QUERIES, length)
    for at in range(low, high, KEYS):
        slot = at + slots
        inside = (slot < high)[:, None] & is_column[None, :]
        place = slot.to(tl.int64)[:, None]
        key = tl.load(keys + place * key_token + columns[None, :], mask=inside, other=0.0)
        scores = tl.dot(asked, tl.trans(key), input_precision="ieee")
        if CAPPED:  # tanh by its magnitude: exact near 0, and it cannot overflow
            shrunk = tl.exp2(-steepness * tl.abs(scores))
            size_of_tanh = (1 - shrunk) / (1 + shrunk)
            scores = tl.where(scores < 0, -size_of_tanh, size_of_tanh)
        seen = (slot[None, :] <= token[:, None]) & (slot[None, :] >= first[:, None])
        scores = tl.where(seen, scores * height, -1e30)
        higher = tl.maximum(highest, tl.max(scores, 1))
        weights = tl.where(seen, tl.exp2(scores - higher[:, None]), 0.0)
        shrink = tl.exp2(highest - higher)
        value = tl.load(values + place * value_token + columns[None, :], mask=inside, other=0.0)
        result = result * shrink[:, None]
        result = tl.dot(weights.to(value.dtype), value, result, input_precision="ieee")
        total = total * shrink + tl.sum(weights, 1)
        highest = higher

    result = result / tl.where(total > 0, total, 1.0)[:, None]
    place = (token.to(tl.int64) * tl.num_programs(0) * HEADS + head)[:, None] * WIDTH
    tl.store(
        output + place + columns[None, :],
        result.to(output.dtype.element_ty),
        mask=is_row[:, None] & is_column[None, :],
    )
