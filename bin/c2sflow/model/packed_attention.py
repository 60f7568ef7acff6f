"""Attention over prompts packed into one row without padding: by a kernel of ours on a GPU.

A token sees one stretch of tokens, from the first of its prompt, or of its window, up to itself. So
the mask is one number a token, and any row runs by the same kernel: nothing waits for a compiler
when lengths change.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from c2sflow.model.batching import Batch, on_device

PACKED = "packed"
MULTIPLE = 64  # tokens of a row, so that memory of one batch fits the next


def packed_attention(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    begins: torch.Tensor,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Causal attention, as transformers' eager function computes it, of prompts in one row.

    Parameters
    ----------
    query, key, value
        (1, n_heads or n_key_value_heads, length, head_dim).
    begins
        int32 (1, 1, 1, length), ascending: the first token of each token's prompt. In the place of
        the mask, which of four dimensions transformers hands on as it is.
    scaling, softcap, sliding_window
        Of the layer; None for 1 / sqrt(head_dim), no cap and no window.

    Returns
    -------
    (1, length, n_heads, head_dim), and None instead of the weights.
    """
    scaling = query.shape[3] ** -0.5 if scaling is None else scaling
    attend = kernel() if query.is_cuda else formula
    places = begins[0, 0, 0], scaling, softcap, sliding_window
    return attend(query[0], key[0], value[0], *places)[None], None


def kernel() -> Callable[..., torch.Tensor]:
    """The kernel, called as `formula` is. Triton is for Linux only, and slow to import."""
    from c2sflow.model.packed_kernel import attend

    return attend


def formula(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    begins: torch.Tensor,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> torch.Tensor:
    """What the kernel computes, in plain torch and in float32: (length, n_heads, head_dim).

    Parameters
    ----------
    query
        (n_heads, length, head_dim).
    keys, values
        (n_key_value_heads, length, head_dim).
    begins
        int32 (length,).
    """
    n_heads, length, width = query.shape
    tokens = torch.arange(length, device=query.device)
    first = begins if window is None else begins.maximum(tokens - window + 1)
    visible = (tokens >= first[:, None]) & (tokens <= tokens[:, None])
    grouped = query.reshape(len(keys), -1, length, width)
    mixed = exact(grouped, keys[:, None], values[:, None], visible, scaling, softcap)
    return mixed.reshape(n_heads, length, width).transpose(0, 1)


def exact(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: torch.Tensor,
    scaling: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attention written out, in float32 and rounded once: (..., n_queries, head_dim).

    Parameters
    ----------
    query
        (..., n_queries, head_dim).
    keys, values
        (..., n_keys, head_dim).
    visible
        bool (..., n_queries, n_keys), or broadcast to it.
    """
    scores = query.float() @ keys.float().transpose(-2, -1) * scaling
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    weights = scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)
    return (weights @ values.float()).to(query.dtype)


def inputs_for(model: PreTrainedModel, batch: Batch) -> dict:
    """Keywords of the model's forward for a batch, on its device."""
    if model.config._attn_implementation != PACKED:
        return batch.inputs_on(model.device)
    inputs = {name: batch.inputs[name] for name in ("input_ids", "position_ids")}
    bounds = batch.inputs["cu_seq_lens_q"].numpy()
    begins = torch.from_numpy(np.repeat(bounds[:-1], np.diff(bounds)))
    inputs["attention_mask"] = begins[None, None, None]
    return {name: on_device(tensor, model.device) for name, tensor in inputs.items()}


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
