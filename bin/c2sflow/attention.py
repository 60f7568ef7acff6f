"""Attention for Gemma-2 in plain torch that never holds a whole matrix.

Gemma-2 caps its attention logits (50 tanh(x / 50)) and lets every second layer look back no
further than a window. transformers' eager attention honours both with matrices of the square of
the length; its sdpa honours neither. `blockwise_attention` goes through the queries in blocks and
looks only at the keys that a block may see: half of the work of a causal layer, in memory that
grows with the length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import flash_attention_mask

BLOCKWISE = "blockwise"
# Implementations that take prompts packed into one row; the others take a row a prompt.
PACKED = frozenset({"flash_attention_2", "flex_attention"})
QUERIES = {"cpu": 64}  # queries a block: on a CPU its scores stay in the cache (measured)

# Called with module, weights (n_rows, n_heads, n_queries, n_keys), first query and first key.
Observer = Callable[[torch.nn.Module, torch.Tensor, int, int], None]


def blockwise_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    attention_observer: Observer | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Causal attention, as transformers' eager function computes it, in blocks of queries.

    Parameters
    ----------
    query, key, value
        (n_rows, n_heads or n_key_value_heads, length, head_dim). Keys may be more than queries
        (a cache): the last key is the last query's own.
    attention_mask
        bool (n_rows, n_keys), False on padding; None if no real token can see padding. Or bool
        (n_rows, 1, 1, n_keys): all that the only query sees, wherever its own key stands.
    scaling, softcap, sliding_window
        Of the layer; None for 1 / sqrt(head_dim), no cap and no window.
    attention_observer
        Told the weights of each block; passed to the model's forward as a keyword.

    Returns
    -------
    (n_rows, n_queries, n_heads, head_dim), and None instead of the weights.
    """
    n_rows, n_heads, n_queries, width = query.shape
    groups, n_keys = key.shape[1], key.shape[2]
    past = n_keys - n_queries
    whole = attention_mask is not None and attention_mask.ndim == 4
    factor = (module.head_dim**-0.5 if scaling is None else scaling) / (softcap or 1.0)
    # The heads that share a key head are further queries of it: keys are not repeated.
    query = query.reshape(n_rows, groups, n_heads // groups, n_queries, width)
    output = query.new_empty(n_rows, n_queries, n_heads, value.shape[3])
    size = QUERIES.get(query.device.type, 512)
    for start in range(0, n_queries, size):
        stop = min(start + size, n_queries)
        first = max(0, past + start - sliding_window + 1) if sliding_window and not whole else 0
        seen = slice(first, past + stop)
        block = (query[:, :, :, start:stop] * factor).flatten(2, 3)
        scores = (block @ key[:, :, seen].transpose(2, 3)).float().unflatten(2, (-1, stop - start))
        if whole:
            regions = [(scores, attention_mask[:, None].float())]
        else:
            ends = past + start, past + stop, first
            regions = _regions(*ends, sliding_window, attention_mask, scores)
        weights = _softmax(scores, softcap, regions)
        if attention_observer is not None:
            attention_observer(module, weights.flatten(1, 2), start, first)
        mixed = weights.to(value.dtype).flatten(2, 3) @ value[:, :, seen]
        mixed = mixed.unflatten(2, (-1, stop - start)).flatten(1, 2)
        output[:, start:stop] = mixed.transpose(1, 2)
    return output, None


def _regions(
    start: int,
    end: int,
    first: int,
    window: int | None,
    mask: torch.Tensor | None,
    scores: torch.Tensor,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Parts of the scores of queries start to end, keys first to end, in which some are hidden.

    Returns
    -------
    Views of `scores`, each with float32 of the same shape or broadcast to it: 1 where a query
    sees a key, else 0.
    """
    queries = torch.arange(start, end, device=scores.device)[:, None]
    regions = [(scores[..., start - first :], (queries >= queries.T).float())]
    if window and end - first > window:
        old = torch.arange(first, end - window, device=scores.device)
        regions.append((scores[..., : end - window - first], (old > queries - window).float()))
    if mask is not None:
        regions.append((scores, mask[:, None, None, None, first:end].float()))
    return regions


def _softmax(
    scores: torch.Tensor,
    softcap: float | None,
    regions: list[tuple[torch.Tensor, torch.Tensor]],
) -> torch.Tensor:
    """Softmax of float32 `scores` over the keys that are seen, in place."""
    if softcap is None:
        for part, seen in regions:
            part.add_((seen - 1) * 1e30)
        weights = scores.sub_(scores.amax(dim=-1, keepdim=True)).exp_()
    else:  # capped scores cannot overflow: no pass to find and subtract the largest
        weights = scores.tanh_().mul_(softcap).exp_()
    for part, seen in regions:
        part.mul_(seen)
    # A query on padding sees no key: weights of zero, not 0 / 0.
    return weights.div_(weights.sum(dim=-1, keepdim=True).clamp_min(1e-30))


AttentionInterface.register(BLOCKWISE, blockwise_attention)
# The mask stays that of the tokens, or None: the function itself knows what is causal.
AttentionMaskInterface.register(BLOCKWISE, flash_attention_mask)


@contextmanager
def using(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Run a loaded model with another attention for a while."""
    before = model.config._attn_implementation
    model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
