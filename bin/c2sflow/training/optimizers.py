"""Optimizers and learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

# Of AdamW, by the method of training.
RATES = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5, "scratch": 3e-3}
# Muon's steps are of one size whatever the gradient's: its rate beside AdamW's, as the bundled
# model was trained (0.02 and 0.003).
MUON_RATE = 20 / 3
LEAST = 0.02  # share of the rate that is left at the end


def adamw(
    parameters: Iterable[torch.nn.Parameter], rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019)."""
    return torch.optim.AdamW(
        list(parameters), lr=rate, betas=(0.9, 0.98), weight_decay=weight_decay
    )


def muon_and_adamw(
    model: torch.nn.Module, layers: torch.nn.Module, rate: float
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the layers' matrices, AdamW for all else.

    Small models that begin with random weights learn in a fraction of the steps that AdamW takes.
    """
    matrices = [p for p in layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=MUON_RATE * rate, weight_decay=0.05)
    return [muon, adamw(others, rate, weight_decay=0.01)]


def rate_share(step: int, steps: int, warm_up: int) -> float:
    """Share of the learning rate: linear warm-up, then a cosine down to 2 %."""
    warm = min(1.0, (step + 1) / max(1, warm_up))
    return warm * (LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * step / steps)))
