"""The next token of each row: the likeliest, or drawn at a temperature by numbers of its own."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def row_numbers(seed: int, key: str, n_steps: int) -> np.ndarray:
    """float64 (n_steps,) in [0, 1): by seed and key (cell, perturbation, sample), not by batch."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little")).random(n_steps)


def next_tokens(
    log_probs: torch.Tensor,
    numbers: torch.Tensor | None,
    temperature: float = 0.0,
    top_p: float = 1.0,
) -> torch.Tensor:
    """Choose a token a row.

    Parameters
    ----------
    log_probs
        float32 (n_rows, vocab_size); -inf where forbidden.
    numbers
        float64 (n_rows,) in [0, 1), each row's own random number of this step.
    temperature
        0 for the likeliest token.
    top_p
        Draw only from the likeliest tokens that together have this probability.

    Returns
    -------
    int64 (n_rows,)
    """
    if not temperature:
        return log_probs.argmax(dim=-1)
    probabilities = (log_probs / temperature).softmax(dim=-1)
    if top_p >= 1:
        return _draw(probabilities, numbers)
    ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    place = _draw(ordered.masked_fill(before >= top_p, 0), numbers)
    return tokens.gather(1, place[:, None])[:, 0]


def _draw(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The first token up to which the weights exceed a row's share of their sum."""
    sums = weights.cumsum(dim=-1, dtype=torch.float64)
    place = torch.searchsorted(sums, (numbers[:, None] * sums[:, -1:]), right=True)[:, 0]
    return place.clamp_max(weights.shape[-1] - 1)
