"""A step of decoding as one compiled graph, where the device gains by it.

A step of a language model is hundreds of short kernels: without a graph, starting them takes a GPU
longer than a few rows' arithmetic. The graph is compiled for one number of rows and slots, so the
cache is fixed (`DecodeCache.fix`), and checked against the plain model before it is believed.
"""

from __future__ import annotations

import logging

import torch
from transformers import PreTrainedModel

from c2sflow.attention import BLOCKWISE
from c2sflow.decode_cache import DecodeCache

LOGGER = logging.getLogger(__name__)

# How torch.compile is called, by type of device; the others run uncompiled. (On two cores a step
# compiled was no faster: docs/performance.md.)
COMPILE = {"cuda": {"mode": "reduce-overhead"}}
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
        and model.config.model_type == "gemma2"
        and model.config._attn_implementation == BLOCKWISE
    )


class CompiledStep:
    """The logits of a further token of each row, from a fixed cache.

    Its result is compared with the plain model's at the first steps; where they differ, or where
    the compiler fails, the plain model goes on, and the log says so.
    """

    def __init__(self, model: PreTrainedModel, cache: DecodeCache):
        cache.fix()
        self.model, self.cache = model, cache
        options = COMPILE[model.device.type]
        self.compiled = torch.compile(_logits, fullgraph=True, dynamic=False, **options)
        self.unchecked = CHECKED_STEPS

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """float (n_rows, vocab_size), for tokens and positions int64 (n_rows, 1)."""
        masks = self.cache.next_masks(self.model.config.sliding_window)
        inputs = (self.model, tokens, positions, masks, self.cache)
        if self.compiled is None:
            return _logits(*inputs)
        if not self.unchecked:
            return self._run(inputs)
        self.unchecked -= 1
        # Both write the same keys and values into the same slot.
        expected = _logits(*inputs)
        fault = self._fault(inputs, expected)
        if fault:
            LOGGER.warning("decoding goes on uncompiled: %s", fault)
            self.compiled = None
        return expected

    def _run(self, inputs: tuple) -> torch.Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return self.compiled(*inputs)

    def _fault(self, inputs: tuple, expected: torch.Tensor) -> str | None:
        """Why the compiled step cannot be believed, or None."""
        try:
            made = self._run(inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever the compiler can raise
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        difference = ((made - expected).float().norm() / expected.float().norm()).item()
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
