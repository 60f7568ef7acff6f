"""Attention of one query a row over all slots of a cache, for a step whose shapes never change.

Which slots a row sees is read from tensors, so that a CUDA graph of the step stays valid while the
cache fills and rows are exchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from c2sflow.model.packed_attention import exact

DECODE = "decode"


@dataclass(frozen=True)
class Seen:
    """The slots that each row sees: from its own start to the newest.

    Attributes
    ----------
    starts
        int64 (n_rows,); none behind the newest slot.
    newest
        int64 (1,).
    """

    starts: torch.Tensor
    newest: torch.Tensor


def decode_attention(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: None,
    *,
    seen: Seen,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers' eager function computes it: by one kernel on a GPU.

    Parameters
    ----------
    query
        (n_rows, n_heads, 1, head_dim).
    key, value
        (n_rows, n_key_value_heads, n_slots, head_dim), contiguous; what a row does not see is
        finite.
    seen
        Passed to the model's forward as a keyword; there is no mask.
    scaling, softcap, sliding_window
        Of the layer; None for 1 / sqrt(head_dim), no cap and no window.

    Returns
    -------
    (n_rows, 1, n_heads, head_dim), and None instead of the weights.

    Raises
    ------
    ValueError
        For more than one query a row.
    """
    if query.shape[2] != 1:
        raise ValueError(f"{query.shape[2]} queries a row: attention {DECODE} takes one")
    scaling = query.shape[3] ** -0.5 if scaling is None else scaling
    attend = kernel() if query.is_cuda else formula
    mixed = attend(query[:, :, 0], key, value, seen, scaling, softcap, sliding_window)
    return mixed[:, None], None


def kernel() -> Callable[..., torch.Tensor]:
    """The kernel, called as `formula` is. Triton is for Linux only, and slow to import."""
    from c2sflow.generation.decode_kernel import attend

    return attend


def formula(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    seen: Seen,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> torch.Tensor:
    """What the kernel computes, in plain torch and in float32: (n_rows, n_heads, head_dim).

    Parameters
    ----------
    query
        (n_rows, n_heads, head_dim).
    """
    n_rows, n_heads, width = query.shape
    slots = torch.arange(keys.shape[2], device=keys.device)
    first = seen.starts if window is None else seen.starts.maximum(seen.newest - window + 1)
    visible = (slots >= first[:, None]) & (slots <= seen.newest)
    # The heads that share a key head are further queries of it: keys are not repeated.
    grouped = query.reshape(n_rows, keys.shape[1], -1, width)
    mixed = exact(grouped, keys, values, visible[:, None, None], scaling, softcap)
    return mixed.reshape(n_rows, n_heads, width)


AttentionInterface.register(DECODE, decode_attention)
AttentionMaskInterface.register(DECODE, lambda *_, **__: None)
