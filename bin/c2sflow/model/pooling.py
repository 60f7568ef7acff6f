"""Hidden states to one vector a prompt, in one go and without a question to the device."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from c2sflow.model.batching import on_device
from c2sflow.model.tokenization import TokenizedPrompts

Pooling = Literal["mean", "last", "genes"]
CHUNK = 64  # tokens added up one after the other: sums of sums keep float32's precision


def pooled_spans(prompts: TokenizedPrompts, pooling: Pooling) -> np.ndarray:
    """First token that is pooled, and the first that is not any more: int (n_prompts, 2)."""
    if pooling == "genes":
        return prompts.sentences
    ends = prompts.n_tokens
    return np.stack([ends - 1 if pooling == "last" else np.zeros_like(ends), ends], axis=1)


def mean_over(hidden: torch.Tensor, spans: np.ndarray) -> torch.Tensor:
    """Mean of the states of each span, accumulated in float32: (n_spans, hidden_size).

    A span's sum has nothing of another's: one that overflows leaves the others right.

    Parameters
    ----------
    hidden
        (n_tokens, hidden_size).
    spans
        int (n_spans, 2): first token, and the first that is not of the span any more.
    """
    lengths = spans[:, 1] - spans[:, 0]
    n_chunks = -(-lengths // CHUNK)
    of_chunk = np.repeat(np.arange(len(spans)), n_chunks)
    first_chunk = _starts(n_chunks)
    begin = spans[of_chunk, 0] + CHUNK * (np.arange(of_chunk.size) - first_chunk[of_chunk])
    sizes = np.minimum(CHUNK, spans[of_chunk, 1] - begin)
    tokens = np.repeat(begin - _starts(sizes), sizes) + np.arange(sizes.sum())
    parts = _sums(hidden.float(), tokens, _starts(sizes))
    sums = _sums(parts, np.arange(of_chunk.size), first_chunk)
    return sums / on_device(torch.from_numpy(lengths[:, None].astype(np.float32)), hidden.device)


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.cumsum(sizes) - sizes


def _sums(values: torch.Tensor, rows: np.ndarray, starts: np.ndarray) -> torch.Tensor:
    """Sums of the rows of `values` that `rows` names, a new one from each of `starts` on."""
    where = (on_device(torch.from_numpy(array), values.device) for array in (rows, starts))
    return embedding_bag(next(where), values, next(where), mode="sum")
