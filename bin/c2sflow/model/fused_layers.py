"""What a model's layers compute beside their products, each in one pass by a kernel of ours.

Norms, the gate of the feed-forward part and the rotation of queries and keys are some forty small
kernels a layer when written out in torch: a third of the time of embedding on an H200, and most of
the launches of a decoding step (docs/performance.md).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import GELUTanh

from c2sflow.model.architectures.registry import family_of

ROTATION = "apply_rotary_pos_emb"  # transformers' name for it, in the module of a family


@contextmanager
def fused_layers(model: PreTrainedModel) -> Iterator[None]:
    """Within it, what a model's family declares is one kernel each: see `Family`."""
    family = family_of(model.config.model_type)
    forwards: list[tuple[Any, Callable[..., torch.Tensor]]] = []
    rotations: dict[str, Callable] = {}
    for part in model.modules():
        kind: Any = part
        name = type(part).__name__
        if name in family.norms:
            offset = family.norms[name]
            norm = partial(rms_norm, weight=kind.weight, eps=kind.eps, offset=offset)
            forwards.append((part, norm))
        elif name in family.gated and isinstance(kind.act_fn, GELUTanh):
            forwards.append((part, partial(_feed_forward, part)))
        elif name in family.rotating:
            module = type(part).__module__
            rotations[module] = vars(sys.modules[module])[ROTATION]
    before = [part.__dict__.get("forward") for part, _ in forwards]
    for part, forward in forwards:
        part.forward = forward
    for module, rotation in rotations.items():
        setattr(sys.modules[module], ROTATION, partial(rotated, otherwise=rotation))
    try:
        yield
    finally:
        for module, rotation in rotations.items():
            setattr(sys.modules[module], ROTATION, rotation)
        for (part, _), forward in zip(forwards, before, strict=True):
            del part.forward
            if forward is not None:  # a hook's
                part.forward = forward


def rms_norm(
    states: torch.Tensor, *, weight: torch.Tensor, eps: float, offset: float
) -> torch.Tensor:
    """States over their root mean square, times weight + offset: in float32, rounded once.

    Parameters
    ----------
    states
        (..., width).
    weight
        (width,).
    """
    if states.is_cuda:
        from c2sflow.model.fused_kernels import normalize  # Triton is for Linux only

        return normalize(states, weight, eps, offset)
    exact = states.float()
    exact = exact * torch.rsqrt(exact.square().mean(dim=-1, keepdim=True) + eps)
    return (exact * (offset + weight.float())).to(states.dtype)


def gated(gates: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """GELU (its tanh form) of the gates, times the states: in float32, rounded once.

    Parameters
    ----------
    gates, states
        Of one shape.
    """
    if states.is_cuda:
        from c2sflow.model.fused_kernels import gate

        return gate(gates, states)
    exact = nn.functional.gelu(gates.float(), approximate="tanh") * states.float()
    return exact.to(states.dtype)


def _feed_forward(part: Any, states: torch.Tensor) -> torch.Tensor:
    return part.down_proj(gated(part.gate_proj(states), part.up_proj(states)))


def rotated(
    query: torch.Tensor,
    keys: torch.Tensor,
    cosines: torch.Tensor,
    sines: torch.Tensor,
    *,
    otherwise: Callable[..., tuple[torch.Tensor, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys, rotated by their positions: in float32, rounded once.

    Parameters
    ----------
    query, keys
        (n_rows, n_heads or n_key_value_heads, length, head_dim).
    cosines, sines
        (n_rows or 1, length, head_dim).
    otherwise
        Rotates those of a model that runs beside this one, on a CPU.
    """
    if query.is_cuda:
        from c2sflow.model.fused_kernels import rotate

        return rotate(query, keys, cosines, sines)
    return otherwise(query, keys, cosines, sines)
