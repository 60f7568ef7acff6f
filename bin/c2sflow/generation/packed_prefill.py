"""Prompts prefilled in one packed row, as embedding reads them on a GPU.

No token of padding is computed. Keys and values are written to the prompts' own rows of a cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from c2sflow.common.errors import brief
from c2sflow.generation.kv_cache import DecodeCache
from c2sflow.model.agreement import disagreement_of
from c2sflow.model.architectures.registry import family_of
from c2sflow.model.attention import BLOCKWISE, using
from c2sflow.model.batching import PromptPool, devices_of
from c2sflow.model.fused_layers import fused_layers
from c2sflow.model.packed_attention import MULTIPLE, PACKED, inputs_for

LOGGER = logging.getLogger(__name__)
PACKS = {"cuda"}  # types of device; on a CPU `blockwise` is faster
SAMPLE = 2  # prompts of the first row that are computed by plain layers, too

Computed = tuple[DecodeCache, torch.Tensor]  # rows of keys and values, and the logits behind them


class PackedPrefill:
    """Takes prompts in packed rows, as long as the result is what the plain model computes.

    Parameters
    ----------
    model
        With its head.

    Attributes
    ----------
    works
        Whether prompts may be packed.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.works = packable(model)
        self.believed = False

    def __call__(
        self,
        prompts: Sequence[np.ndarray],
        pad_token_id: int,
        plain: Callable[[Sequence[np.ndarray]], Computed],
    ) -> Computed | None:
        """A cache of these prompts, and the logits behind them; None where packing does not work.

        Parameters
        ----------
        plain
            Computes the same without packing: the first result is compared with it.
        """
        if not self.works:
            return None
        try:
            made = self._packed(prompts, pad_token_id)
            fault = None if self.believed else _difference(made, plain(prompts[:SAMPLE]))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a kernel can raise
            fault = brief(error)
        if fault:
            LOGGER.warning("prompts are no longer packed: %s", fault)
            self.works = False
            return None
        self.believed = True
        return made

    def _packed(self, prompts: Sequence[np.ndarray], pad_token_id: int) -> Computed:
        sizes = np.array([ids.size for ids in prompts])
        pool = PromptPool(int(sizes.sum()), pad_token_id, packed=True, multiple=MULTIPLE)
        for number, ids in enumerate(prompts):
            pool.add(number, ids)
        batch = pool.take()
        longest = int(sizes.max())
        cache = DecodeCache(self.model.config, len(prompts), longest, self.model.device)
        cache.starts[:] = torch.from_numpy(longest - sizes)
        rows = np.repeat(batch.rows, sizes[batch.rows])
        slots = np.concatenate([np.arange(longest - n, longest) for n in sizes[batch.rows]])
        last = np.empty(len(prompts), dtype=np.int64)
        last[batch.rows] = batch.starts + sizes[batch.rows] - 1
        place = [torch.from_numpy(array).to(self.model.device) for array in (rows, slots, last)]
        with using(self.model, PACKED), fused_layers(self.model), cache.scattered(*place[:2]):
            logits = self.model(
                **inputs_for(self.model, batch),
                past_key_values=cache, use_cache=True, logits_to_keep=place[2],
            ).logits[0]  # fmt: skip
        cache.rewind(longest)
        return cache, logits


def packable(model: PreTrainedModel) -> bool:
    """Whether prompts of this model can be packed, on its device."""
    attentions = family_of(model.config.model_type).attentions
    return (
        model.device.type in PACKS
        and len(devices_of(model)) == 1
        and PACKED in attentions
        and model.config._attn_implementation == BLOCKWISE
    )


def _difference(made: Computed, expected: Computed) -> str | None:
    """Why the packed result cannot be believed, or None: by logits, and the last keys and values.

    Parameters
    ----------
    expected
        Of the first prompts.
    """
    (cache, logits), (own, own_logits) = made, expected
    pairs = {"logits": (logits[: len(own_logits)], own_logits)}
    for name in ("keys", "values"):
        packed, plain = (getattr(some.own[-1], name) for some in (cache, own))
        packed = packed[: len(plain), :, cache.length - own.length : cache.length]
        seen = own.seen(own.length)[:, None, :, None]
        pairs[name] = (packed * seen, plain[:, :, : own.length] * seen)
    for name, (one, other) in pairs.items():
        if fault := disagreement_of(f"packed {name}", one, other):
            return fault
    return None
