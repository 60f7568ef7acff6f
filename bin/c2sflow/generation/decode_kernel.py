"""The kernels of `c2sflow.generation.decode_attention`, in Triton: flash-decoding.

Each row, key head and part of the slots is a program (Dao et al., 2023, "Flash-Decoding for
long-context inference"): a few rows fill the card, and a key is read once for all the heads that
share it. Products take the cache's own type and add up in float32. `TRITON_INTERPRET=1`, set before
Triton is imported, runs them on a CPU, which is how the tests do.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from c2sflow.generation.decode_attention import Seen

NO_WINDOW = 2**30
SHORTEST_PART = 128  # slots; shorter ones cost more to join than they gain
PROGRAMS_PER_PROCESSOR = 8  # so many that the last ones leave little of the card idle
BLOCK_BYTES = 2**14  # of keys read at a time; and as many of values
STAGES = 3  # so that a block is read while the one before is computed
NARROWEST = 16  # of a product's sides


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    seen: Seen,
    scaling: float,
    softcap: float | None,
    window: int | None,
    n_parts: int | None = None,
) -> torch.Tensor:
    """Attention of one query a row: (n_rows, n_heads, head_dim).

    Parameters
    ----------
    query
        (n_rows, n_heads, head_dim).
    keys, values
        (n_rows, n_key_value_heads, n_slots, head_dim), contiguous.
    n_parts
        Into how many parts a row's slots are cut; None for what suits the card.
    """
    n_rows, n_heads, width = query.shape
    n_groups, n_slots = keys.shape[1:3]
    if not keys.is_contiguous() or keys.shape != values.shape:
        raise ValueError("keys and values must be contiguous and of one shape")
    if n_parts is None:
        n_parts = parts_for(n_rows * n_groups, n_slots, query.device)
    query = query.contiguous()
    output = torch.empty_like(query)
    mixed, logs = output, output  # of a single part nothing is joined, and `logs` is not written
    if n_parts > 1:
        mixed = torch.empty(
            n_rows, n_heads, n_parts, width, dtype=torch.float32, device=query.device
        )
        logs = torch.empty(n_rows, n_heads, n_parts, dtype=torch.float32, device=query.device)
    sizes = sizes_of(width, n_heads // n_groups, keys.element_size())
    attend_part[n_rows, n_groups, n_parts](
        query, keys, values, seen.starts, seen.newest, mixed, logs,
        scaling, softcap or 0.0, window or NO_WINDOW, n_slots,
        CAPPED=softcap is not None, N_PARTS=n_parts, **sizes,
        num_warps=4, num_stages=STAGES, enable_fp_fusion=True,
    )  # fmt: skip
    if n_parts > 1:
        join_parts[(n_rows * n_heads,)](
            mixed, logs, output,
            N_PARTS=n_parts, PARTS_WIDE=triton.next_power_of_2(n_parts),
            WIDTH=width, WIDE=sizes["WIDE"], enable_fp_fusion=True,
        )  # fmt: skip
    return output


def sizes_of(width: int, heads: int, value_bytes: int) -> dict[str, int]:
    """Constants of `attend_part` for heads of a width, so many of which share a key head."""
    wide = max(NARROWEST, triton.next_power_of_2(width))
    return {
        "WIDTH": width,
        "WIDE": wide,
        "HEADS": heads,
        "HEADS_WIDE": max(NARROWEST, triton.next_power_of_2(heads)),
        "BLOCK": min(128, max(NARROWEST, BLOCK_BYTES // (wide * value_bytes))),
    }


def parts_for(n_programs: int, n_slots: int, device: torch.device) -> int:
    """How many parts make enough programs of so many, for this number of slots."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    wanted = -(-PROGRAMS_PER_PROCESSOR * processors // n_programs)
    return max(1, min(wanted, n_slots // SHORTEST_PART))


@triton.jit(do_not_specialize=["window", "n_slots"])  # one kernel for all layers and caches
def attend_part(
    query, keys, values, starts, newest, mixed, logs,
    scaling, softcap, window, n_slots,
    CAPPED: tl.constexpr, N_PARTS: tl.constexpr, WIDTH: tl.constexpr, WIDE: tl.constexpr,
    HEADS: tl.constexpr, HEADS_WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One part of the slots of one row, for the heads of one key head."""
    row, group, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    n_groups = tl.num_programs(1)
    end = tl.load(newest).to(tl.int32) + 1
    first = tl.maximum(tl.load(starts + row).to(tl.int32), end - window)
    size = tl.cdiv(tl.cdiv(end - first, N_PARTS), BLOCK) * BLOCK
    low = first + part * size
    high = tl.minimum(low + size, end)

    heads, columns, slots = tl.arange(0, HEADS_WIDE), tl.arange(0, WIDE), tl.arange(0, BLOCK)
    is_head, is_column = heads < HEADS, columns < WIDTH
    head = (row * n_groups + group) * HEADS + heads
    asked = tl.load(
        query + head[:, None] * WIDTH + columns[None, :],
        mask=is_head[:, None] & is_column[None, :],
        other=0.0,
    )
    base = (row * n_groups + group).to(tl.int64) * n_slots * WIDTH

    highest = tl.full([HEADS_WIDE], -float("inf"), tl.float32)
    total = tl.zeros([HEADS_WIDE], tl.float32)
    result = tl.zeros([HEADS_WIDE, WIDE], tl.float32)
    for at in range(low, high, BLOCK):
        slot = at + slots
        is_slot = slot < high
        place = base + slot[:, None] * WIDTH + columns[None, :]
        inside = is_slot[:, None] & is_column[None, :]
        key = tl.load(keys + place, mask=inside, other=0.0)
        scores = tl.dot(asked, tl.trans(key), input_precision="ieee") * scaling
        if CAPPED:  # tanh by its magnitude: exact near 0, and it cannot overflow
            shrunk = tl.exp(-2 * tl.abs(scores) / softcap)
            size_of_tanh = (1 - shrunk) / (1 + shrunk)
            scores = softcap * tl.where(scores < 0, -size_of_tanh, size_of_tanh)
        scores = tl.where(is_slot[None, :], scores, -float("inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        shrink = tl.exp(highest - higher)
        value = tl.load(values + place, mask=inside, other=0.0)
        result = result * shrink[:, None]
        result = tl.dot(weights.to(value.dtype), value, result, input_precision="ieee")
        total = total * shrink + tl.sum(weights, 1)
        highest = higher

    result = tl.where(total[:, None] > 0, result / total[:, None], 0.0)  # a part may be empty
    place = (head * N_PARTS + part)[:, None] * WIDTH + columns[None, :]
    inside = is_head[:, None] & is_column[None, :]
    tl.store(mixed + place, result.to(mixed.dtype.element_ty), mask=inside)
    if N_PARTS > 1:
        tl.store(logs + head * N_PARTS + part, highest + tl.log(total), mask=is_head)


@triton.jit
def join_parts(
    mixed, logs, output,
    N_PARTS: tl.constexpr, PARTS_WIDE: tl.constexpr, WIDTH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The parts of one head of a row, by the sums of their weights."""
    head = tl.program_id(0)
    parts, columns = tl.arange(0, PARTS_WIDE), tl.arange(0, WIDE)
    is_part, is_column = parts < N_PARTS, columns < WIDTH
    sums = tl.load(logs + head * N_PARTS + parts, mask=is_part, other=-float("inf"))
    weights = tl.exp(sums - tl.max(sums, 0))
    results = tl.load(
        mixed + (head * N_PARTS + parts)[:, None] * WIDTH + columns[None, :],
        mask=is_part[:, None] & is_column[None, :],
        other=0.0,
    )
    result = tl.sum(results * weights[:, None], 0) / tl.sum(weights, 0)
    tl.store(output + head * WIDTH + columns, result.to(output.dtype.element_ty), mask=is_column)
