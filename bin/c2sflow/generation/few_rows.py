"""Products of few tokens with a model's matrices, as a CPU does them fastest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeGuard

import torch
from torch import nn
from transformers import PreTrainedModel

from c2sflow.generation.valid_head import HeadRows

# Tokens of a product; of less or more the plain one is as fast (measured: docs/performance.md).
FEW = range(8, 65)


@contextmanager
def quick_products(model: PreTrainedModel) -> Iterator[None]:
    """Within it, a model in float32 on a CPU multiplies few tokens with its matrices faster.

    A step of decoding is hardly more than these products. ``x @ W.T`` with few rows of x is the
    shape that MKL is slow at; ``(W @ x.T).T`` is the same, in up to half of the time.
    """
    layers = [layer for layer in model.modules() if _is_plain(layer)]
    for layer in layers:
        layer.forward = partial(_product, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it does nothing but multiply, in float32 on a CPU."""
    if type(layer) not in (nn.Linear, HeadRows) or "forward" in vars(layer):
        return False
    return layer.weight.dtype is torch.float32 and layer.weight.device.type == "cpu"


def _product(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    if states.numel() // layer.in_features not in FEW:
        return nn.functional.linear(states, layer.weight, layer.bias)
    columns = states.reshape(-1, layer.in_features).t()
    product = (layer.weight @ columns).t().contiguous()
    if layer.bias is not None:
        product += layer.bias
    return product.view(*states.shape[:-1], layer.out_features)
