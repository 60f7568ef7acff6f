"""A head that computes the logits of the tokens that may follow, and of no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel


class HeadRows(nn.Linear):
    """Some rows of a linear head, copied once."""

    def __init__(self, head: nn.Linear, tokens: torch.Tensor):
        super().__init__(head.in_features, len(tokens), head.bias is not None, device="meta")
        rows = tokens.to(head.weight.device)
        self.weight = nn.Parameter(head.weight[rows], requires_grad=False)
        if head.bias is not None:
            self.bias = nn.Parameter(head.bias[rows], requires_grad=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Their logits."""
        # Of a model on several GPUs the head may be on another one than the last layer.
        return super().forward(hidden.to(self.weight.device))


class _Columns(nn.Module):
    """Some columns of what another head computes: of one that is quantised, or has an adapter."""

    def __init__(self, head: nn.Module, tokens: torch.Tensor):
        super().__init__()
        self.head, self.tokens = head, tokens

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Their logits."""
        logits = self.head(hidden)
        return logits[..., self.tokens.to(logits.device)]


@contextmanager
def valid_head(model: PreTrainedModel, tokens: torch.Tensor) -> Iterator[None]:
    """Within it, the logits of a causal language model are those of `tokens` alone.

    The model's own forward runs: a soft-cap or scale of its logits stays.

    Parameters
    ----------
    tokens
        int64 (n_tokens,); the logits are (..., n_tokens), in this order.
    """
    head = model.get_output_embeddings()
    plain = type(head) is nn.Linear and head.weight.is_floating_point()
    model.set_output_embeddings(HeadRows(head, tokens) if plain else _Columns(head, tokens))
    try:
        yield
    finally:
        model.set_output_embeddings(head)
