"""The decode kernels, run by Triton's interpreter on the CPU, against the formula and eager.

Not collected by itself: test_decode_kernel.py runs it in a process whose environment asks Triton to
interpret, which it must before anything imports Triton.
"""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from c2sflow.generation.decode_attention import Seen, formula
from c2sflow.generation.decode_kernel import attend

assert os.environ["TRITON_INTERPRET"] == "1"  # conftest.py has seen to bfloat16


def eager(query, keys, values, seen, scaling, softcap, window):
    """transformers' eager attention, in float32, with the mask it would get."""
    layer = nn.Module()
    layer.num_key_value_groups = query.shape[1] // keys.shape[1]
    slots = torch.arange(keys.shape[2])
    hidden = (slots < seen.starts[:, None]) | (slots > seen.newest)
    if window:
        hidden |= slots <= seen.newest - window
    bias = torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min)
    query, keys, values = (tensor.float() for tensor in (query[:, :, None], keys, values))
    made, _ = eager_attention_forward(
        layer, query, keys, values, bias[:, None, None], scaling=scaling, softcap=softcap
    )
    return made[:, 0]


def step(n_rows, groups, per_group, width, n_slots, newest, seed):
    """Queries, keys, values and what is seen; behind the newest slot is what must not be read."""
    generator = torch.Generator().manual_seed(seed)
    query = 4 * torch.randn(n_rows, groups * per_group, width, generator=generator)
    keys, values = torch.randn(2, n_rows, groups, n_slots, width, generator=generator)
    starts = torch.randint(newest + 1, (n_rows,), generator=generator)
    starts[0], starts[-1] = 0, newest  # all, and the newest alone as a free row
    return query, keys, values, Seen(starts, torch.tensor([newest]))


@settings(max_examples=30)
@given(
    groups=st.integers(1, 2),
    per_group=st.sampled_from([1, 2, 3, 8, 17]),
    width=st.sampled_from([8, 16, 96, 128]),
    n_slots=st.integers(1, 200),
    fill=st.floats(0, 1),
    softcap=st.sampled_from([None, 5.0, 50.0]),
    window=st.sampled_from([None, 1, 7, 48, 1000]),
    n_parts=st.integers(1, 6),
    half=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_eager(
    groups, per_group, width, n_slots, fill, softcap, window, n_parts, half, seed
):
    newest = int(fill * (n_slots - 1))
    query, keys, values, seen = step(3, groups, per_group, width, n_slots, newest, seed)
    dtype = torch.bfloat16 if half else torch.float32
    query, keys, values = (tensor.to(dtype) for tensor in (query, keys, values))
    options = seen, width**-0.5, softcap, window
    expected = eager(query, keys, values, *options)
    # bfloat16 rounds the weights, by 2**-9 of values up to 4, and the result.
    within = {"rtol": 1e-2, "atol": 2e-2} if half else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(formula(query, keys, values, *options).float(), expected, **within)
    keys[:, :, newest + 1 :], values[:, :, newest + 1 :] = torch.nan, torch.nan
    for row, start in enumerate(seen.starts):
        keys[row, :, :start] = values[row, :, :start] = torch.nan
    made = attend(query, keys, values, *options, n_parts=n_parts)
    assert made.dtype == dtype
    torch.testing.assert_close(made.float(), expected, **within)


def test_one_kernel_follows_the_length():
    """The length is read from the tensor, not from what the kernel was called with."""
    query, keys, values, seen = step(3, 2, 2, 16, 200, 10, 0)
    for newest in (10, 11, 150):
        seen.newest.fill_(newest)
        made = attend(query, keys, values, seen, 0.25, 50.0, 48, n_parts=2)
        torch.testing.assert_close(made, eager(query, keys, values, seen, 0.25, 50.0, 48))


def test_what_it_cannot_read_is_refused():
    query, keys, values, seen = step(2, 2, 2, 16, 20, 10, 0)
    with pytest.raises(ValueError, match="contiguous"):
        attend(query, keys.transpose(1, 2), values.transpose(1, 2), seen, 1.0, None, None)
