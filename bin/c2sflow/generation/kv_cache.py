"""The key-value cache that generation decodes with, and the compiled step over it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from transformers import Cache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin

from c2sflow.model.architectures.registry import family_of
from c2sflow.model.attention import BLOCKWISE

LOGGER = logging.getLogger(__name__)
Step = Callable[..., torch.Tensor]  # `_logits`, compiled


class _Layer(CacheLayerMixin):
    """One layer's keys and values, (n_rows, n_key_value_heads, n_slots, head_dim)."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, n_rows: int, n_slots: int):
        super().__init__()
        self.shape = n_rows, n_slots
        self.length = 0
        self.slot: torch.Tensor | None = None  # of the newest token, in a fixed cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        n_rows, n_slots = self.shape
        self.keys, self.values = (
            # Zeros: what a masked slot holds is multiplied by a weight of zero, and must be finite.
            states.new_zeros(n_rows, states.shape[1], n_slots, states.shape[3])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.slot is not None:
            self.keys.index_copy_(2, self.slot, key_states)
            self.values.index_copy_(2, self.slot, value_states)
            return self.keys, self.values
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.shape[1]


class DecodeCache(Cache):
    """Cache of a batch whose rows are exchanged while it runs.

    Sliding layers keep all slots too: their attention looks no further than its window.

    Parameters
    ----------
    n_rows, n_slots
        Rows decoded together, and tokens of a row.
    device
        Of the mask.
    """

    def __init__(self, config: PreTrainedConfig, n_rows: int, n_slots: int, device: torch.device):
        self.own = [_Layer(n_rows, n_slots) for _ in range(config.num_hidden_layers)]
        super().__init__(layers=[*self.own])
        self.n_slots = n_slots
        self.mask = torch.zeros(n_rows, n_slots, dtype=torch.bool, device=device)

    @property
    def length(self) -> int:
        """Slots written so far."""
        return self.own[0].length

    def clear(self) -> None:
        """Forget all rows."""
        self.mask.zero_()
        self.rewind(0)

    def rewind(self, length: int) -> None:
        """Forget everything behind the first `length` slots."""
        for layer in self.own:
            layer.length = length

    def take_in(self, rows: torch.Tensor, other: DecodeCache) -> None:
        """Put the rows of another cache into the place of `rows`; they end at the newest slot.

        They must not be longer than what is there, unless nothing is.
        """
        n_slots = other.length
        if not self.length:
            for layer in self.own:
                layer.length = n_slots
        place = slice(self.length - n_slots, self.length)
        for layer, source in zip(self.own, other.own, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(source.keys, source.values)
            layer.keys[rows.to(layer.keys.device), :, place] = source.keys
            layer.values[rows.to(layer.values.device), :, place] = source.values
        self.mask[rows] = False
        self.mask[rows, place] = other.mask[:, :n_slots]

    def next_mask(self) -> torch.Tensor:
        """bool (n_rows, length + 1): what a further token of each row sees."""
        self.mask[:, self.length] = True
        return self.mask[:, : self.length + 1]

    def fix(self) -> None:
        """Show all slots from now on; to be called once it holds rows, on a single device."""
        slot = torch.zeros(1, dtype=torch.int64, device=self.mask.device)
        torch._dynamo.mark_static_address(slot)
        self.slot = slot
        for layer in self.own:
            layer.slot = slot
            # Written in place at every step: without this, CUDA graphs are not used.
            torch._dynamo.mark_static_address(layer.keys)
            torch._dynamo.mark_static_address(layer.values)

    def next_masks(self, window: int | None) -> dict[str, torch.Tensor]:
        """Take the next slot of a fixed cache: what a further token sees, by kind of layer.

        Returns
        -------
        bool (n_rows, 1, 1, n_slots) for full_attention and sliding_attention.
        """
        slot = self.length
        self.mask[:, slot] = True
        for layer in self.own:
            layer.length = slot + 1
        self.slot.fill_(slot)
        near = self.mask
        if window:
            near = near & (torch.arange(self.n_slots, device=near.device) > slot - window)
        kinds = {"full_attention": self.mask, "sliding_attention": near}
        return {kind: mask[:, None, None].clone() for kind, mask in kinds.items()}

    def make_room(self, used: int) -> None:
        """Move everything to the front when the slots are used up.

        Parameters
        ----------
        used
            Slots that the longest row needs, counted from the newest.
        """
        if self.length < self.n_slots:
            return
        kept = slice(self.length - used, self.length)
        for layer in self.own:
            for states in (layer.keys, layer.values):
                states[:, :, :used] = states[:, :, kept].clone()
            layer.length = used
        front = self.mask[:, kept].clone()
        self.mask.zero_()
        self.mask[:, :used] = front

    def keep(self, rows: torch.Tensor) -> None:
        """Keep some rows only."""
        for layer in self.own:
            layer.keys = layer.keys[rows.to(layer.keys.device)]
            layer.values = layer.values[rows.to(layer.values.device)]
            layer.shape = len(rows), self.n_slots
        self.mask = self.mask[rows]


# How torch.compile is called, by type of device; the others run uncompiled. (On two cores a step
# compiled was no faster: docs/performance.md.)
COMPILE: dict[str, dict[str, Any]] = {"cuda": {"mode": "reduce-overhead"}}
# Compiling takes about as long as this many steps: fewer are not worth it.
FEWEST_STEPS = 2000
# CUDA graphs are recorded at the second or third call: so many are compared.
CHECKED_STEPS = 4
# Largest relative difference of the logits: rounding of half precision, fused or not.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.05}


def worth_compiling(model: PreTrainedModel, n_steps: int) -> bool:
    """Whether so many steps of a model, on its device, are better compiled."""
    devices = {parameter.device for parameter in model.parameters()}
    return (
        model.device.type in COMPILE
        and n_steps >= FEWEST_STEPS
        and len(devices) == 1
        and family_of(model.config.model_type).compiles
        and model.config._attn_implementation == BLOCKWISE
    )


class CompiledStep:
    """The logits of a further token of each row, from a fixed cache.

    Its result is compared with the plain model's at the first steps; where they differ, or where
    the compiler fails, the plain model is used, with a warning.
    """

    def __init__(self, model: PreTrainedModel, cache: DecodeCache):
        cache.fix()
        self.model, self.cache = model, cache
        options = COMPILE[model.device.type]
        self.compiled: Step | None = torch.compile(
            _logits, fullgraph=True, dynamic=False, **options
        )
        self.unchecked = CHECKED_STEPS

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """float (n_rows, vocab_size), for tokens and positions int64 (n_rows, 1)."""
        masks = self.cache.next_masks(self.model.config.sliding_window)
        inputs = (self.model, tokens, positions, masks, self.cache)
        if self.compiled is None:
            return _logits(*inputs)
        if not self.unchecked:
            return _run(self.compiled, inputs)
        self.unchecked -= 1
        # Both write the same keys and values into the same slot.
        expected = _logits(*inputs)
        fault = _fault(self.compiled, inputs, expected)
        if fault:
            LOGGER.warning("decoding continues without compilation: %s", fault)
            self.compiled = None
        return expected


def _run(compiled: Step, inputs: tuple) -> torch.Tensor:
    torch.compiler.cudagraph_mark_step_begin()
    return compiled(*inputs)


def _fault(compiled: Step, inputs: tuple, expected: torch.Tensor) -> str | None:
    """Why the compiled step cannot be believed, or None."""
    try:
        computed = _run(compiled, inputs)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the compiler can raise
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    difference = ((computed - expected).float().norm() / expected.float().norm()).item()
    if difference <= TOLERANCE[expected.dtype]:
        return None
    return f"compiled logits differ by {100 * difference:.1f} %"


def _logits(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    masks: dict[str, torch.Tensor],
    cache: DecodeCache,
) -> torch.Tensor:
    return model(
        input_ids=tokens,
        attention_mask=masks,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
