"""A model's RMSNorms, each in one pass: written out they are eight kernels, four times a layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from c2sflow.model.architectures.registry import family_of


@contextmanager
def fused_norms(model: PreTrainedModel) -> Iterator[None]:
    """Within it, norms that the model's family declares (`Family.norms`) are one kernel each."""
    declared = family_of(model.config.model_type).norms
    norms: list[Any] = [part for part in model.modules() if type(part).__name__ in declared]
    before = [norm.__dict__.get("forward") for norm in norms]
    for norm in norms:
        offset = declared[type(norm).__name__]
        norm.forward = partial(rms_norm, weight=norm.weight, eps=norm.eps, offset=offset)
    try:
        yield
    finally:
        for norm, forward in zip(norms, before, strict=True):
            del norm.forward
            if forward is not None:  # a hook's
                norm.forward = forward


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
        from c2sflow.generation.norm_kernel import normalize  # Triton is for Linux only

        return normalize(states, weight, eps, offset)
    exact = states.float()
    exact = exact * torch.rsqrt(exact.square().mean(dim=-1, keepdim=True) + eps)
    return (exact * (offset + weight.float())).to(states.dtype)
