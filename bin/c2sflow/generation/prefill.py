"""Prompts taken into the rows of a cache, before their answers are decoded or scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from c2sflow.generation.kv_cache import DecodeCache


def prefill(
    model: PreTrainedModel,
    cache: DecodeCache,
    rows: torch.Tensor,
    prompts: Sequence[np.ndarray],
    pad_token_id: int,
) -> torch.Tensor:
    """Put prompts into rows of a cache; they end at its newest slot.

    Parameters
    ----------
    rows
        int64 (n_prompts,).
    prompts
        Token ids of each, no longer than what the cache holds, unless it is empty.

    Returns
    -------
    Logits of the first token after each prompt, (n_prompts, vocab_size).
    """
    ids, mask = (tensor.to(model.device) for tensor in pad_left(prompts, pad_token_id))
    n_rows, n_slots = ids.shape
    fresh = DecodeCache(model.config, n_rows, n_slots, model.device)
    fresh.starts[:] = n_slots - mask.sum(dim=1)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp_min(0),
        past_key_values=fresh,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    cache.take_in(rows, fresh)
    return logits


def pad_left(
    input_ids: Sequence[np.ndarray], pad_token_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """input_ids int64 and attention_mask bool, (n_rows, longest), padded on the left."""
    longest = max(ids.size for ids in input_ids)
    ids = np.full((len(input_ids), longest), pad_token_id, dtype=np.int64)
    mask = np.zeros(ids.shape, dtype=bool)
    for row, tokens in enumerate(input_ids):
        ids[row, longest - tokens.size :] = tokens
        mask[row, longest - tokens.size :] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)
