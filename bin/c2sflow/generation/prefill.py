"""Prompts taken into the rows of a cache, before their answers are decoded or scored.

What prompts have in common is computed once: equal prompts (several answers to one), and the
beginnings of prompts that differ at their end (many questions about one cell).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from transformers import PreTrainedModel

from c2sflow.generation.common_beginnings import alike, n_common
from c2sflow.generation.kv_cache import DecodeCache
from c2sflow.generation.packed_prefill import PackedPrefill


def prefill(
    model: PreTrainedModel,
    cache: DecodeCache,
    rows: torch.Tensor,
    prompts: Sequence[np.ndarray],
    pad_token_id: int,
    packed: PackedPrefill | None = None,
) -> torch.Tensor:
    """Put prompts into rows of a cache; they end at its newest slot.

    Parameters
    ----------
    rows
        int64 (n_prompts,).
    prompts
        Token ids of each, no longer than what the cache holds, unless it is empty.
    packed
        Packs those that begin like no other.

    Returns
    -------
    Logits of the first token after each prompt, (n_prompts, vocab_size).
    """
    if not cache.length:
        cache.rewind(max(ids.size for ids in prompts))
    numbers: dict[bytes, int] = {}
    inverse = [numbers.setdefault(ids.tobytes(), len(numbers)) for ids in prompts]
    distinct = [prompts[inverse.index(number)] for number in range(len(numbers))]
    parts = []
    for some, fresh, logits in _computed(model, distinct, pad_token_id, packed):
        place = {number: at for at, number in enumerate(some)}
        own = [n for n, number in enumerate(inverse) if number in place]
        sources = torch.tensor([place[inverse[n]] for n in own], device=rows.device)
        cache.take_in(rows[own], fresh, sources)
        parts.append((own, logits[sources]))
    order = np.argsort([n for own, _ in parts for n in own])
    return torch.cat([logits for _, logits in parts])[order]


def _computed(
    model: PreTrainedModel,
    prompts: Sequence[np.ndarray],
    pad_token_id: int,
    packed: PackedPrefill | None,
) -> Iterator[tuple[list[int], DecodeCache, torch.Tensor]]:
    """Numbers of some prompts, a cache with a row for each, and the logits behind them."""
    groups = alike(prompts)
    shared = [group for group in groups if len(group) > 1]
    alone = [group[0] for group in groups if len(group) == 1]
    if shared:
        yield (
            [n for group in shared for n in group],
            *_behind_beginnings(
                model, [[prompts[n] for n in group] for group in shared], pad_token_id
            ),
        )
    if alone:
        own = [prompts[n] for n in alone]
        plain = partial(_whole, model, pad_token_id=pad_token_id)
        made = packed(own, pad_token_id, plain) if packed else None
        yield alone, *(made or plain(own))


def _whole(
    model: PreTrainedModel, prompts: Sequence[np.ndarray], pad_token_id: int
) -> tuple[DecodeCache, torch.Tensor]:
    """A cache of these prompts, and the logits behind them."""
    longest = max(ids.size for ids in prompts)
    cache = DecodeCache(model.config, len(prompts), longest, model.device)
    return cache, _append(model, cache, prompts, longest, pad_token_id)


def _behind_beginnings(
    model: PreTrainedModel, groups: Sequence[Sequence[np.ndarray]], pad_token_id: int
) -> tuple[DecodeCache, torch.Tensor]:
    """The same of groups of prompts, each with a beginning in common that is computed once.

    All prompts are continued by equally many tokens, the most that any has behind its group's
    beginning. So a row has no padding between its beginning and its rest: a sliding window, which
    counts slots, sees what it should.
    """
    prompts = [ids for group in groups for ids in group]
    of_group = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    common = np.array([min(n_common(group[0], ids) for ids in group) for group in groups])
    sizes = np.array([ids.size for ids in prompts])
    n_rest = max(1, int((sizes - common[of_group]).max()))
    n_past = np.maximum(sizes - n_rest, 0)
    longest = [max(1, n_past[of_group == n].max()) for n in range(len(groups))]
    begun, _ = _whole(
        model, [group[0][:n] for group, n in zip(groups, longest, strict=True)], pad_token_id
    )
    cache = DecodeCache(model.config, len(prompts), int(n_past.max()) + n_rest, model.device)
    cache.continue_from(begun, *map(torch.from_numpy, (of_group, n_past)))
    return cache, _append(model, cache, prompts, n_rest, pad_token_id)


def _append(
    model: PreTrainedModel,
    cache: DecodeCache,
    prompts: Sequence[np.ndarray],
    n_tokens: int,
    pad_token_id: int,
) -> torch.Tensor:
    """Append the last `n_tokens` of prompts whose first are in the cache; logits behind them."""
    ids = pad_left([prompt[-n_tokens:] for prompt in prompts], n_tokens, pad_token_id)
    end = cache.length + n_tokens
    cache.starts[:] = torch.tensor([end - prompt.size for prompt in prompts])
    mask = cache.seen(end)
    return model(
        input_ids=ids.to(model.device),
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp_min(0)[:, -n_tokens:],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]


def pad_left(prompts: Sequence[np.ndarray], n_slots: int, pad_token_id: int) -> torch.Tensor:
    """int64 (n_rows, n_slots), padded on the left."""
    ids = np.full((len(prompts), n_slots), pad_token_id, dtype=np.int64)
    for row, tokens in enumerate(prompts):
        ids[row, n_slots - tokens.size :] = tokens
    return torch.from_numpy(ids)
