"""blockwise_attention against transformers' eager function, and against what it must not be."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from c2sflow.model.attention import blockwise_attention

HEAD_DIM = 16


class Layer(nn.Module):
    num_key_value_groups = 2
    head_dim = HEAD_DIM


def eager(query, key, value, mask, softcap, window):
    """transformers' eager attention with the mask it would get."""
    n_queries, n_keys = query.shape[2], key.shape[2]
    past = n_keys - n_queries
    queries = torch.arange(past, n_keys)[:, None]
    keys = torch.arange(n_keys)
    hidden = keys > queries
    if window:
        hidden = hidden | (keys <= queries - window)
    hidden = hidden.expand(query.shape[0], 1, n_queries, n_keys)
    if mask is not None:
        hidden = hidden | ~mask[:, None, None]
    bias = torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min)
    return eager_attention_forward(
        Layer(), query, key, value, bias, scaling=HEAD_DIM**-0.5, softcap=softcap
    )


@given(
    n_queries=st.integers(1, 200),
    past=st.integers(0, 90),
    softcap=st.sampled_from([None, 50.0]),
    window=st.sampled_from([None, 1, 40, 500]),
    padded=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_eager(n_queries, past, softcap, window, padded, seed):
    generator = torch.Generator().manual_seed(seed)
    n_keys = past + n_queries
    query = 40 * torch.randn(3, 4, n_queries, HEAD_DIM, generator=generator)
    key = torch.randn(3, 2, n_keys, HEAD_DIM, generator=generator)
    value = torch.randn(3, 2, n_keys, HEAD_DIM, generator=generator)
    mask = None
    if padded:  # on the left, as generation pads
        mask = torch.arange(n_keys) >= torch.tensor([0, n_keys // 3, n_keys - 1])[:, None]
    made, _ = blockwise_attention(Layer(), query, key, value, mask, HEAD_DIM**-0.5, softcap, window)
    expected, _ = eager(query, key, value, mask, softcap, window)
    real = torch.ones(3, n_queries, dtype=torch.bool)
    if padded:
        real = mask[:, past:]
        # A query on padding sees nothing: zero, and never a NaN that the next layer would spread.
        assert torch.isfinite(made).all()
    torch.testing.assert_close(made[real], expected[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype):
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 4, 150, HEAD_DIM) for _ in range(3))
    key, value = key[:, :2], value[:, :2]
    exact, _ = eager(query, key, value, None, 50.0, None)
    half = [tensor.to(dtype) for tensor in (query, key, value)]
    made, _ = blockwise_attention(Layer(), *half, None, HEAD_DIM**-0.5, 50.0)
    assert made.dtype == dtype
    torch.testing.assert_close(made.float(), exact, rtol=0.05, atol=0.02)


def test_the_observer_sees_the_weights():
    torch.manual_seed(0)
    query = torch.randn(1, 4, 150, HEAD_DIM)
    key, value = torch.randn(2, 1, 2, 150, HEAD_DIM)
    whole = torch.zeros(1, 4, 150, 150)

    def observe(_module, weights, start, first):
        whole[:, :, start : start + weights.shape[2], first : first + weights.shape[3]] = weights

    blockwise_attention(
        Layer(), query, key, value, None, HEAD_DIM**-0.5, 50.0, 40, attention_observer=observe
    )
    _, expected = eager(query, key, value, None, 50.0, 40)
    torch.testing.assert_close(whole, expected)
