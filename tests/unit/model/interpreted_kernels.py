"""The kernels of embedding, run by Triton's interpreter on the CPU, against transformers' own.

Not collected by itself: test_model_kernels.py runs it in a process whose environment asks Triton to
interpret, which it must before anything imports Triton.
"""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import (
    Gemma2RMSNorm,
    apply_rotary_pos_emb,
    eager_attention_forward,
)

from c2sflow.model import packed_kernel
from c2sflow.model.fp8 import FLOAT8, LARGEST, SMALLEST, rounded
from c2sflow.model.fused_kernels import GATED, gate, normalize, quantize, rotate
from c2sflow.model.packed_attention import formula

assert os.environ["TRITON_INTERPRET"] == "1"  # conftest.py has seen to bfloat16


@pytest.fixture(autouse=True)
def a_card(monkeypatch):
    """Shared memory of a block of an L4."""
    monkeypatch.setattr(packed_kernel, "shared_memory", lambda _: 99 * 1024)


def eager(query, keys, values, begins, scaling, softcap, window):
    """transformers' eager attention, in float32, with the mask it would get."""
    layer = nn.Module()
    layer.num_key_value_groups = len(query) // len(keys)
    tokens = torch.arange(query.shape[1])
    hidden = (tokens > tokens[:, None]) | (tokens < begins[:, None])
    if window:
        hidden |= tokens <= tokens[:, None] - window
    bias = torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min)
    made, _ = eager_attention_forward(
        layer, *(states[None].float() for states in (query, keys, values)), bias[None, None],
        scaling=scaling, softcap=softcap,
    )  # fmt: skip
    return made[0]


@settings(max_examples=12, deadline=None)
@given(
    groups=st.integers(1, 2),
    per_group=st.sampled_from([1, 2, 3, 8]),
    width=st.sampled_from([8, 16, 96]),
    lengths=st.lists(st.sampled_from([1, 3, 31, 32, 70]), min_size=1, max_size=3),
    softcap=st.sampled_from([None, 5.0, 50.0]),
    window=st.sampled_from([None, 1, 7, 48, 1000]),
    half=st.booleans(),
    seed=st.integers(0, 99),
)
def test_attention_equals_eager(groups, per_group, width, lengths, softcap, window, half, seed):
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.bfloat16 if half else torch.float32
    length = sum(lengths)
    begins = torch.from_numpy(np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)).int()

    def states(n_heads):  # as projections leave them: heads of a token behind each other
        made = torch.randn(length, n_heads, width, generator=generator)
        return made.to(dtype).transpose(0, 1)

    query, keys, values = states(groups * per_group) * 4, states(groups), states(groups)
    how = begins, width**-0.5, softcap, window
    expected = eager(query, keys, values, *how)
    # bfloat16 rounds the weights, by 2**-9 of values up to 4, and the result.
    within = {"rtol": 1e-2, "atol": 2e-2} if half else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(formula(query, keys, values, *how).float(), expected, **within)
    made = packed_kernel.attend(query, keys, values, *how)
    assert made.dtype == dtype
    assert made.is_contiguous()
    torch.testing.assert_close(made.float(), expected, **within)


@settings(max_examples=15, deadline=None)
@given(
    n_rows=st.integers(1, 4),
    width=st.sampled_from([1, 16, 96, 2304]),
    size=st.sampled_from([1e-4, 1.0, 1e3]),
    half=st.booleans(),
    seed=st.integers(0, 99),
)
def test_norms_are_gemmas(n_rows, width, size, half, seed):
    dtype = torch.bfloat16 if half else torch.float32
    generator = torch.Generator().manual_seed(seed)
    norm = Gemma2RMSNorm(width)
    norm.weight.data.normal_(generator=generator)
    norm.to(dtype)
    states = (size * torch.randn(n_rows, 1, width, generator=generator)).to(dtype)
    made = normalize(states, norm.weight.data, norm.eps, 1.0)
    assert made.dtype == dtype
    with torch.no_grad():
        # bfloat16: rounded once, so by no more than to the next value.
        torch.testing.assert_close(made, norm(states), rtol=2**-7 if half else 1e-5, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(
    size=st.sampled_from([1, 100, GATED - 1, GATED + 1, 3 * GATED]),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    half=st.booleans(),
    seed=st.integers(0, 99),
)
def test_gates_are_torchs(size, scale, half, seed):
    dtype = torch.bfloat16 if half else torch.float32
    generator = torch.Generator().manual_seed(seed)
    gates, states = (scale * torch.randn(2, 1, size, generator=generator)).to(dtype)
    exact = nn.functional.gelu(gates.double(), approximate="tanh") * states.double()
    made = gate(gates, states)
    assert made.dtype == dtype
    within = {"rtol": 2**-7 if half else 1e-5, "atol": 1e-6 * scale}
    torch.testing.assert_close(made.double(), exact, **within)


@settings(max_examples=15, deadline=None)
@given(
    n_rows=st.integers(1, 3),
    length=st.sampled_from([1, 2, 17]),
    heads=st.sampled_from([(1, 1), (8, 4), (6, 2), (5, 5)]),
    width=st.sampled_from([2, 16, 96]),
    shared=st.booleans(),
    half=st.booleans(),
    seed=st.integers(0, 99),
)
def test_rotation_is_gemmas(n_rows, length, heads, width, shared, half, seed):
    dtype = torch.bfloat16 if half else torch.float32
    generator = torch.Generator().manual_seed(seed)

    def states(n_heads):
        made = torch.randn(n_rows, length, n_heads * width, generator=generator).to(dtype)
        return made.view(n_rows, length, n_heads, width).transpose(1, 2)

    query, keys = map(states, heads)
    angles = torch.randn(1 if shared else n_rows, length, width // 2, generator=generator)
    angles = torch.cat([angles, angles], dim=-1)
    turns = angles.cos().to(dtype), angles.sin().to(dtype)
    expected = apply_rotary_pos_emb(query.float(), keys.float(), *(turn.float() for turn in turns))
    for made, wanted in zip(rotate(query, keys, *turns), expected, strict=True):
        assert made.dtype == dtype
        within = {"rtol": 2**-7 if half else 1e-6, "atol": 1e-6}
        torch.testing.assert_close(made.float(), wanted, **within)


@settings(max_examples=10, deadline=None)
@given(
    width=st.sampled_from([16, 96, 2304]),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 300.0]),
    seed=st.integers(0, 99),
)
def test_8_bit_floats_are_torchs(width, scale, seed):
    """Before the last rounding, which the interpreter does not do as a card does."""
    generator = torch.Generator().manual_seed(seed)
    values = scale * torch.randn(3, width, generator=generator)
    made, scales = quantize(values, torch.float32, LARGEST, SMALLEST)
    small, expected = rounded(values)
    torch.testing.assert_close(scales, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(made.to(FLOAT8).float(), small.float(), rtol=2**-3, atol=2**-9)
    torch.testing.assert_close(made * scales, values, rtol=1e-6, atol=0)
