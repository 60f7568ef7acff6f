"""Batches by tokens, and the pool of prompts that fills them."""

from __future__ import annotations

import resource
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from typing import Required, TypedDict

import numpy as np
import psutil
import torch
from transformers import PreTrainedModel

from c2sflow.model.memory_plan import LEAST_TOKENS, kept_bytes, working_bytes

CPU_TOKENS = 4096  # measured on two cores: larger batches fall out of the cache
GPU_TOKENS = 2**15  # its matrices are large enough by then; more would only cost memory
FILLER = 512  # tokens of a prompt of padding
CPU_CACHE, GPU_CACHE = 2**16, 2**19  # tokens decoded together: more rows gain nothing by then


def devices_of(model: torch.nn.Module) -> list[torch.device]:
    """The devices that hold the model, that of the token embeddings first."""
    return list(dict.fromkeys(parameter.device for parameter in model.parameters()))


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on a device."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def resolve_max_batch_tokens(value: int | str | None, model: PreTrainedModel) -> int:
    """Token budget of a batch; "auto" (or None) is found from the devices' free memory."""
    if value not in (None, "auto"):
        return int(value)
    devices = devices_of(model)
    if devices[0].type != "cuda":
        return CPU_TOKENS
    free = min(free_bytes(device) for device in devices)
    fitting = max(1, int(0.5 * free // working_bytes(model.config)))
    # A power of two, so that memory of one batch fits the next.
    return int(np.clip(1 << (fitting.bit_length() - 1), LEAST_TOKENS, GPU_TOKENS))


def resolve_cache_tokens(value: int | str | None, model: PreTrainedModel) -> int:
    """Tokens that are decoded together; "auto" (or None) is found from the devices' free memory.

    A token keeps its keys and values in every layer; weights are read once for all rows of a step,
    so that more rows cost little until the cache itself is what memory is busy with.
    """
    if value not in (None, "auto"):
        return int(value)
    kept = kept_bytes(model.config, model.dtype)
    free = sum(free_bytes(device) for device in devices_of(model))
    share, most = (0.5, GPU_CACHE) if model.device.type == "cuda" else (0.25, CPU_CACHE)
    return int(np.clip(share * free // kept, LEAST_TOKENS, most))


def peak_memory(device: torch.device) -> int:
    """Most bytes this process has held: on the GPU, or of main memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


# What keeps attention's whole matrix needs memory and time by the square of the length: a batch
# holds at most budget x QUADRATIC entries of it (measured on CPU: 4 x 1,024 tokens took 5.7 s,
# 1 x 4,096 tokens 21.8 s).
QUADRATIC = 512


class Inputs(TypedDict, total=False):
    """Keywords of a model's forward: those after the first only of packed rows."""

    input_ids: Required[torch.Tensor]
    position_ids: torch.Tensor
    cu_seq_lens_q: torch.Tensor
    cu_seq_lens_k: torch.Tensor
    max_length_q: int
    max_length_k: int


@dataclass
class Batch:
    """What one forward pass takes.

    Attributes
    ----------
    rows, prompts
        Number and token ids of each prompt.
    starts
        Where each prompt begins in the flattened (n_rows x length) batch.
    inputs
        Keywords of the model's forward, on the CPU.
    """

    rows: list[int]
    prompts: list[np.ndarray]
    starts: np.ndarray
    inputs: Inputs

    @property
    def n_tokens(self) -> int:
        """Tokens without padding."""
        return sum(ids.size for ids in self.prompts)

    @property
    def n_slots(self) -> int:
        """Tokens with padding."""
        return self.inputs["input_ids"].numel()

    def inputs_on(self, device: torch.device) -> dict:
        """The inputs on a device; pinned memory is copied while a GPU computes."""
        return {
            name: on_device(value, device) if isinstance(value, torch.Tensor) else value
            for name, value in self.inputs.items()
        }


def on_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on a device; to a GPU it is copied while that computes."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor


@dataclass
class PromptPool:
    """Waiting prompts.

    Parameters
    ----------
    max_tokens
        Most tokens of a batch, padding included; a longer prompt is a batch of its own.
    pad_token_id
        Marks slots without a token.
    packed
        One row of prompts without padding between them, instead of a row a prompt.
    multiple
        A packed row is filled up to a multiple of this: few lengths, few compilations.
    quadratic
        The attention keeps its whole matrix.
    max_rows
        Most prompts of a batch.
    fullness
        Least length of a prompt beside a longer one, as a share of that: bounds the padding.
    """

    max_tokens: int
    pad_token_id: int = 0
    packed: bool = False
    multiple: int = 1
    quadratic: bool = False
    max_rows: int | None = None
    fullness: float = 0.0
    n_tokens: int = 0
    _waiting: list[tuple[int, int]] = field(default_factory=list)  # (tokens, -row), ascending
    _input_ids: dict[int, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, row: int, input_ids: np.ndarray) -> None:
        """Let a prompt wait; an empty one is nothing to wait for."""
        if input_ids.size:
            insort(self._waiting, (input_ids.size, -row))
            self._input_ids[row] = input_ids
            self.n_tokens += input_ids.size

    def take(self) -> Batch:
        """The longest prompt and as many more as the budget allows."""
        rows = self._take_packed() if self.packed else self._take_alike()
        prompts = [self._input_ids.pop(row) for row in rows]
        self.n_tokens -= sum(ids.size for ids in prompts)
        return self._pack(rows, prompts) if self.packed else self._pad(rows, prompts)

    def put_back(self, batch: Batch, max_tokens: int) -> None:
        """Return a batch that did not fit into memory; from now on take so many tokens."""
        for row, ids in zip(batch.rows, batch.prompts, strict=True):
            self.add(row, ids)
        self.max_tokens = max_tokens

    def _take_alike(self) -> list[int]:
        longest = self._waiting[-1][0]
        most = self.max_tokens // longest
        if self.quadratic:
            most = min(most, QUADRATIC * self.max_tokens // longest**2)
        most = max(1, min(most, self.max_rows or most))
        if self.fullness:
            alike = bisect_left(self._waiting, (self.fullness * longest,))
            most = min(most, len(self._waiting) - alike)
        taken = self._waiting[: -most - 1 : -1]
        del self._waiting[-len(taken) :]
        return [-row for _, row in taken]

    def _take_packed(self) -> list[int]:
        rows: list[int] = []
        room = self.max_tokens
        place = len(self._waiting)
        while place and len(rows) < (self.max_rows or len(self._input_ids)):
            n_tokens, row = self._waiting.pop(place - 1)
            rows.append(-row)
            room -= n_tokens
            place = bisect_right(self._waiting, (room, 1))  # the longest that still fits
        return rows

    def _pad(self, rows: list[int], prompts: list[np.ndarray]) -> Batch:
        longest = max(ids.size for ids in prompts)
        ids = np.full((len(rows), longest), self.pad_token_id, dtype=np.int64)
        for row, tokens in enumerate(prompts):
            ids[row, : tokens.size] = tokens
        starts = np.arange(len(rows)) * longest
        return Batch(rows, prompts, starts, {"input_ids": torch.from_numpy(ids)})

    def _pack(self, rows: list[int], prompts: list[np.ndarray]) -> Batch:
        lengths = [ids.size for ids in prompts]
        filling = -sum(lengths) % self.multiple
        row = prompts
        if filling:  # prompts of padding, whose results nobody reads; short ones see little
            row = [*prompts, np.full(filling, self.pad_token_id)]
            lengths += [FILLER] * (filling // FILLER) + [filling % FILLER] * (filling % FILLER > 0)
        bounds = np.cumsum([0, *lengths])
        positions = np.concatenate([np.arange(n) for n in lengths])
        ends = torch.from_numpy(bounds.astype(np.int32))
        inputs: Inputs = {
            "input_ids": torch.from_numpy(np.concatenate(row)[None].astype(np.int64)),
            "position_ids": torch.from_numpy(positions[None]),
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": ends,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
        }
        return Batch(rows, prompts, bounds[: len(rows)], inputs)
