"""Blockwise attention for packed prompts, and the choice of the fastest one that is exact."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.masking_utils import flash_attention_mask
from transformers.utils import is_flash_attn_2_available

from c2sflow.common.errors import UserError
from c2sflow.model.architectures.family import Family
from c2sflow.model.architectures.registry import family_of
from c2sflow.model.batching import PromptPool
from c2sflow.model.packed_attention import PACKED, inputs_for

LOGGER = logging.getLogger(__name__)
BLOCKWISE = "blockwise"
# Implementations that take prompts packed into one row; the others take a row a prompt.
TAKE_PACKED = frozenset({PACKED, "flash_attention_2", "flex_attention"})
QUERIES = {"cpu": 64}  # queries a block: on a CPU its scores stay in the cache (measured)

# Called with module, weights (n_rows, n_heads, n_queries, n_keys), first query and first key.
Observer = Callable[[torch.nn.Module, torch.Tensor, int, int], None]


def blockwise_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    attention_observer: Observer | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Causal attention, as transformers' eager function computes it, in blocks of queries.

    Parameters
    ----------
    query, key, value
        (n_rows, n_heads or n_key_value_heads, length, head_dim). Keys may be more than queries
        (a cache): the last key is the last query's own.
    attention_mask
        bool (n_rows, n_keys), False on padding; None if no real token can see padding.
    scaling, softcap, sliding_window
        Of the layer; None for 1 / sqrt(head_dim), no cap and no window.
    attention_observer
        Called with the weights of each block; passed to the model's forward as a keyword.

    Returns
    -------
    (n_rows, n_queries, n_heads, head_dim), and None instead of the weights.
    """
    n_rows, n_heads, n_queries, width = query.shape
    groups, n_keys = key.shape[1], key.shape[2]
    past = n_keys - n_queries
    factor = (width**-0.5 if scaling is None else scaling) / (softcap or 1.0)
    # The heads that share a key head are further queries of it: keys are not repeated.
    query = query.reshape(n_rows, groups, n_heads // groups, n_queries, width)
    output = query.new_empty(n_rows, n_queries, n_heads, value.shape[3])
    size = QUERIES.get(query.device.type, 512)
    for start in range(0, n_queries, size):
        stop = min(start + size, n_queries)
        first = max(0, past + start - sliding_window + 1) if sliding_window else 0
        seen = slice(first, past + stop)
        block = (query[:, :, :, start:stop] * factor).flatten(2, 3)
        scores = (block @ key[:, :, seen].transpose(2, 3)).float().unflatten(2, (-1, stop - start))
        ends = past + start, past + stop, first
        regions = _regions(*ends, sliding_window, attention_mask, scores)
        weights = _softmax(scores, softcap, regions)
        if attention_observer is not None:
            attention_observer(module, weights.flatten(1, 2), start, first)
        mixed = weights.to(value.dtype).flatten(2, 3) @ value[:, :, seen]
        mixed = mixed.unflatten(2, (-1, stop - start)).flatten(1, 2)
        output[:, start:stop] = mixed.transpose(1, 2)
    return output, None


def _regions(
    start: int,
    end: int,
    first: int,
    window: int | None,
    mask: torch.Tensor | None,
    scores: torch.Tensor,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Parts of the scores of queries start to end, keys first to end, in which some are hidden.

    Returns
    -------
    Views of `scores`, each with float32 of the same shape or broadcast to it: 1 where a query
    sees a key, else 0.
    """
    queries = torch.arange(start, end, device=scores.device)[:, None]
    regions = [(scores[..., start - first :], (queries >= queries.T).float())]
    if window and end - first > window:
        old = torch.arange(first, end - window, device=scores.device)
        regions.append((scores[..., : end - window - first], (old > queries - window).float()))
    if mask is not None:
        regions.append((scores, mask[:, None, None, None, first:end].float()))
    return regions


def _softmax(
    scores: torch.Tensor,
    softcap: float | None,
    regions: list[tuple[torch.Tensor, torch.Tensor]],
) -> torch.Tensor:
    """Softmax of float32 `scores` over the keys that are seen, in place."""
    if softcap is None:
        for part, seen in regions:
            part.add_((seen - 1) * 1e30)
        weights = scores.sub_(scores.amax(dim=-1, keepdim=True)).exp_()
    else:  # capped scores cannot overflow: no pass to find and subtract the largest
        weights = scores.tanh_().mul_(softcap).exp_()
    for part, seen in regions:
        part.mul_(seen)
    # A query on padding sees no key: weights of zero, not 0 / 0.
    return weights.div_(weights.sum(dim=-1, keepdim=True).clamp_min(1e-30))


AttentionInterface.register(BLOCKWISE, blockwise_attention)
# The mask stays that of the tokens, or None: the function itself knows what is causal.
AttentionMaskInterface.register(BLOCKWISE, flash_attention_mask)


@contextmanager
def using(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Run a loaded model with another attention for a while."""
    before = model.config._attn_implementation
    model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


# Largest relative difference to eager in float32. Rounding to bfloat16 makes 0.05 to 0.13 (float16
# 0.01), a dropped soft-cap or window 0.65 and more (tests/unit/test_attention_choice.py).
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.25}


def candidates(family: Family, device: torch.device, dtype: torch.dtype, head: bool) -> list[str]:
    """Those of a family's implementations that suit a device and a task, the fastest first.

    A model that generates gets `blockwise`: flex_attention compiles for every length of a cache,
    and flash_attention_2 waits for the GPU to find the padding. It decodes by a kernel of its own
    (`c2sflow.generation.decode_attention`).
    """
    suited = {BLOCKWISE}
    if device.type != "cpu":
        suited |= {"eager"} if head else {"eager", PACKED, "flex_attention"}
        half = dtype in (torch.bfloat16, torch.float16)
        if half and not head and is_flash_attn_2_available():
            suited |= {"flash_attention_2"}
    return [name for name in family.attentions if name in suited]


def choose_attention(
    requested: str, config: PreTrainedConfig, device: torch.device, dtype: torch.dtype, head: bool
) -> str | None:
    """The implementation to load a model with; None leaves it to transformers.

    On a GPU each that the family may use is first compared with eager, on a small model of the same
    shape of heads: what does not run there, or drops a soft-cap or a window, is not taken.

    Raises
    ------
    UserError
        If the implementation asked for does not run, or disagrees with eager.
    """
    family = family_of(config.model_type)
    if not family.attentions:
        return None if requested == "auto" else requested
    if head and requested == PACKED:  # so are prompts read; answers are made a row each
        requested = BLOCKWISE
    names = candidates(family, device, dtype, head) if requested == "auto" else [requested]
    if requested == "auto" and device.type == "cpu":
        return names[0]  # compared with eager by the tests
    for name in names:
        fault = _fault(name, config, device, dtype)
        if fault is None:
            return name
        LOGGER.warning("attention %s is not used: %s", name, fault)
    raise UserError(f"--attention {requested}: {fault}; use --attention auto")


def embedding_attention(model: PreTrainedModel, requested: str) -> str:
    """What a model that was loaded to generate embeds with: as one loaded without its head.

    Raises
    ------
    UserError
        See `choose_attention`.
    """
    config = model.config
    chosen = choose_attention(requested, config, model.device, model.dtype, head=False)
    return chosen or config._attn_implementation


def _fault(
    name: str, config: PreTrainedConfig, device: torch.device, dtype: torch.dtype
) -> str | None:
    """Why an implementation cannot be used here, or None."""
    if name == "eager":
        return None
    try:
        difference = disagreement(name, config, device, dtype)
    except Exception as error:  # whatever a kernel, a compiler or transformers can raise
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if difference > TOLERANCE[dtype]:
        return f"its result differs from eager's by {100 * difference:.0f} %"
    return None


@torch.inference_mode()
def disagreement(
    name: str, config: PreTrainedConfig, device: torch.device, dtype: torch.dtype
) -> float:
    """Norm of the difference to eager in float32, relative to the norm of that.

    Three prompts, longer and shorter than the window, go through two layers with the heads, cap
    and scaling of `config` and logits as large as the cap, in the layout that `name` is used with.
    """
    model = family_of(config.model_type).probe(config)
    random = np.random.default_rng(0)
    prompts = [random.integers(3, 64, n).astype(np.int32) for n in (150, 70, 33)]
    expected = [
        model(input_ids=torch.from_numpy(ids[None].astype(np.int64)), use_cache=False)
        .last_hidden_state[0]
        for ids in prompts
    ]  # fmt: skip
    pool = PromptPool(max_tokens=600, packed=name in TAKE_PACKED, multiple=128)
    for row, ids in enumerate(prompts):
        pool.add(row, ids)
    batch = pool.take()
    model.to(device, dtype)  # type: ignore[arg-type]  # transformers wraps it without its self
    model.set_attn_implementation(name)
    hidden = model(**inputs_for(model, batch), use_cache=False).last_hidden_state.flatten(0, 1)
    difference = scale = 0.0
    for row, start in zip(batch.rows, batch.starts, strict=True):
        computed = hidden[start : start + len(expected[row])].float().cpu()
        difference += float((computed - expected[row]).square().sum())
        scale += float(expected[row].square().sum())
    return (difference / scale) ** 0.5 if np.isfinite(difference) else np.inf
