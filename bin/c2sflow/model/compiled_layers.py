"""A backbone's layers compiled, each for itself: all of a kind share what is made of one.

Measured on one H200 with the shape of Gemma-2-2B: 102,479 tokens a second against 73,926
(docs/performance.md). Compiling takes seconds, so that `auto` asks whether they come back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal

import torch
from transformers import PreTrainedModel

from c2sflow.common.errors import brief
from c2sflow.model.agreement import disagreement_of
from c2sflow.model.architectures.registry import family_of
from c2sflow.model.batching import devices_of
from c2sflow.model.compile_cache import CompileCache

LOGGER = logging.getLogger(__name__)
Compile = Literal["auto", "on", "off"]
# Tokens × weights of layers from which compiling pays. Measured with 2.0e9 weights on an H200: it
# saves 3.8 µs a token and takes 14 s longer to begin, hence 3.7 million tokens where nothing is
# kept. What is kept serves further shards, of which a third has to pay. A warm cache is read in a
# second or two.
PAYS = {"nothing kept": 7.4e15, "to be kept": 2.5e15, "warm": 2e14}
SHAPE = (
    "model_type", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
    "head_dim", "sliding_window", "attn_logit_softcapping", "query_pre_attn_scalar",
    "hidden_activation", "rms_norm_eps", "attention_bias",
)  # fmt: skip


def not_compiled_because(model: PreTrainedModel) -> str | None:
    """Why a backbone's layers are not compiled, whatever is asked for; None if they can be."""
    if not family_of(model.config.model_type).masks_by_kind:
        return f"c2sflow compiles no {model.config.model_type} model"
    if model.config._attn_implementation != "flex_attention":
        return f"attention {model.config._attn_implementation} takes batches of too many shapes"
    if len(devices_of(model)) > 1:
        return "the model is cut between several GPUs"
    return None


def what_is_compiled(model: PreTrainedModel, length: int) -> dict[str, object]:
    """All that compiled layers depend on beside card, torch and code, for the compile cache."""
    kinds = sorted({type(module).__name__ for module in model.modules()})
    shape = {name: getattr(model.config, name, None) for name in SHAPE}
    return {
        "part": "layers", **shape, "length": length, "dtype": str(model.dtype),
        "attention": model.config._attn_implementation, "modules": kinds,
    }  # fmt: skip


def pays(
    model: PreTrainedModel, n_tokens: int, what: dict[str, object], cache: CompileCache | None
) -> bool:
    """Whether so many tokens are better embedded with the layers compiled: `auto`.

    Never on a CPU, where it is slower (docs/performance.md), nor with quantised weights, of which
    nobody has measured it.
    """
    if model.device.type != "cuda" or getattr(model.config, "quantization_config", None):
        return False
    return worth_compiling(model, n_tokens, what, cache)


def worth_compiling(
    backbone: PreTrainedModel, n_tokens: int, what: dict[str, object], cache: CompileCache | None
) -> bool:
    """Whether the layers of a backbone save with so many tokens what compiling them takes."""
    layers = family_of(backbone.config.model_type).layers(backbone)
    weights = sum(parameter.numel() for parameter in layers.parameters())
    return n_tokens * weights >= least_work(what, cache)


def least_work(what: dict[str, object], cache: CompileCache | None) -> float:
    """Tokens × weights from which compiling pays, by what a cache holds already."""
    if cache is None:
        return PAYS["nothing kept"]
    return PAYS["warm" if cache.holds(what) else "to be kept"]


class CompiledLayers(AbstractContextManager):
    """Within it, the first layers of a backbone run compiled, for batches of one length.

    Their first result is compared with the plain model's; where it differs, or where the compiler
    fails at any time, the plain model is used from then on, with one warning.

    Parameters
    ----------
    model
        A backbone.
    n_layers
        Those that are computed: of what comes after them nothing is compiled.
    what
        See `what_is_compiled`; noted in `cache` when the result is believed.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        n_layers: int,
        what: dict[str, object],
        cache: CompileCache | None,
    ):
        self.layers = list(family_of(model.config.model_type).layers(model))[:n_layers]
        self.dtype = model.dtype
        self.what, self.cache = what, cache
        self.believed = False

    def __enter__(self) -> CompiledLayers:
        for layer in self.layers:
            layer.compile(dynamic=False)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for layer in self.layers:
            layer._compiled_call_impl = None  # what Module.compile() sets, and __call__ asks for
        self.layers = []

    def run(
        self,
        compute: Callable[[], torch.Tensor],
        sample: Callable[[], tuple[list[int], torch.Tensor]],
    ) -> torch.Tensor:
        """What `compute` returns, by compiled layers as far as they can be believed.

        Parameters
        ----------
        compute
            Vectors (n_rows, width), by the model as it is now.
        sample
            Some of the rows, and their vectors by the plain model.
        """
        if not self.layers:
            return compute()
        try:
            vectors = compute()
            fault = None
            if not self.believed:
                rows, expected = sample()
                fault = disagreement_of("compiled vectors", vectors[rows], expected, self.dtype)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever the compiler can raise
            fault = brief(error)
        if fault:
            LOGGER.warning("embedding continues without compilation: %s", fault)
            self.__exit__(None, None, None)
            self.believed = False
            return compute()
        if not self.believed and self.cache is not None:
            self.cache.note(self.what)
        self.believed = True
        return vectors
