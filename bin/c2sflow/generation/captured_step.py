"""A step of decoding, captured once as a CUDA graph and replayed.

A plain step is some 2,000 launches, which take longer than what they launch. All that changes from
step to step (tokens, positions, the newest slot, where rows start, what is emitted) is held in
tensors that are written in place, so that rows leave and enter without another capture.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from transformers import PreTrainedModel

from c2sflow.common.errors import brief
from c2sflow.generation.decode_attention import DECODE, Seen
from c2sflow.generation.kv_cache import DecodeCache
from c2sflow.model.agreement import disagreement_of
from c2sflow.model.attention import BLOCKWISE, using
from c2sflow.model.batching import devices_of
from c2sflow.model.fused_layers import fused_layers

LOGGER = logging.getLogger(__name__)
# Steps that are compared before the graph is believed: the first not yet captured, as what it runs
# is compiled and loaded by then.
CHECKED_STEPS = 4


def cuda_graph(run: Callable[[], None]) -> Callable[[], None]:
    """What replays the launches of `run`, which is not carried out itself."""
    graph = torch.cuda.CUDAGraph()
    # Of this thread alone: others may copy batches to the GPU meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        run()
    return graph.replay


# How a step is captured, by type of device; on the others it is plain.
CAPTURES: dict[str, Callable[[Callable[[], None]], Callable[[], None]]] = {"cuda": cuda_graph}


def capturable(model: PreTrainedModel) -> bool:
    """Whether steps of a model can be captured: on one GPU, with an attention that is ours."""
    return (
        model.device.type in CAPTURES
        and len(devices_of(model)) == 1
        and model.config._attn_implementation == BLOCKWISE
    )


class Rows(Protocol):
    """What is decoded together."""

    model: PreTrainedModel
    cache: DecodeCache

    @property
    def step_state(self) -> Sequence[torch.Tensor]:
        """All tensors that a step writes in place, but for the cache."""

    def forward(self, mask: torch.Tensor | None, **options: object) -> torch.Tensor:
        """Logits of the next token, for the mask and further keywords of the model's forward."""

    def emit(self, logits: torch.Tensor) -> None:
        """Choose the tokens by these logits."""


class CapturedStep:
    """One more token of all rows.

    At the first steps its result is compared with the plain step's; where they differ, or where
    capturing fails, steps are plain from then on, with a warning. It holds no rows: their memory
    is free as soon as they are.

    Attributes
    ----------
    works
        Whether it was not found at fault.
    """

    def __init__(self) -> None:
        self.works = True
        self._replay: Callable[[], None] | None = None
        self._logits = torch.empty(0)  # of the step made last
        self._n_checked = 0

    def __call__(self, rows: Rows) -> None:
        """Make a step of these rows, the same ones at each call."""
        rows.cache.newest.fill_(rows.cache.length)
        with torch.cuda.device_of(rows.cache.newest):  # Triton and graphs take the current GPU
            if self._replay is None or self._n_checked < CHECKED_STEPS:
                self._check(rows)
            else:
                self._replay()
                rows.cache.grow()

    def _step(self, rows: Rows) -> None:
        """The step as it is captured: no shape, number or address in it ever changes."""
        seen = Seen(rows.cache.starts, rows.cache.newest)
        with using(rows.model, DECODE), fused_layers(rows.model), rows.cache.static():
            self._logits = rows.forward(None, seen=seen)
        rows.emit(self._logits)

    def _check(self, rows: Rows) -> None:
        """Make a plain step, after one that is looked at only."""
        before = [tensor.clone() for tensor in rows.step_state]
        fault = None
        try:
            if self._n_checked == 1:
                self._replay = CAPTURES[rows.model.device.type](lambda: self._step(rows))
            if self._replay is None:
                self._step(rows)
            else:
                self._replay()
            made = [tensor.clone() for tensor in rows.step_state]
            _restore(rows.step_state, before)
            rows.emit(self._logits)
            if not all(map(_agree, made, rows.step_state)):
                fault = "what it emits is not what its logits ask for"
        except Exception as error:  # whatever Triton, CUDA or transformers can raise
            fault = brief(error)
        _restore(rows.step_state, before)
        # It writes the same slot of the cache again.
        expected = rows.forward(rows.cache.seen(rows.cache.length + 1))
        rows.emit(expected)
        self._n_checked += 1
        if fault := fault or disagreement_of("its logits", self._logits, expected):
            LOGGER.warning("decoding continues without a captured step: %s", fault)
            self.works, self._replay, self._logits = False, None, torch.empty(0)
            torch.cuda.empty_cache()  # of the graph's memory


def _restore(tensors: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _agree(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.is_floating_point():
        return torch.allclose(one, other, rtol=1e-5, equal_nan=True)
    return torch.equal(one, other)
