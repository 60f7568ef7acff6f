"""Prompts that wait for the model, and the batches they make.

A batch is padded on the right: with causal attention no real token can see what stands behind it,
so no mask is needed. For attention that takes one long row (flash, flex) the prompts are packed
one after the other instead.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field

import numpy as np
import torch

# What keeps attention's whole matrix needs memory and time by the square of the length: a batch
# holds at most budget x QUADRATIC entries of it (measured on CPU: 4 x 1,024 tokens took 5.7 s,
# 1 x 4,096 tokens 21.8 s).
QUADRATIC = 512


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
    inputs: dict[str, torch.Tensor | int]

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
            name: _to_device(value, device) if isinstance(value, torch.Tensor) else value
            for name, value in self.inputs.items()
        }


def _to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
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
        Stands where no token does.
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

    def put_back(self, batch: Batch) -> None:
        """Return a batch that did not fit into memory; from now on half as many tokens do."""
        for row, ids in zip(batch.rows, batch.prompts, strict=True):
            self.add(row, ids)
        self.max_tokens = max(1, self.max_tokens // 2)

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
        rows, room = [], self.max_tokens
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
        if filling:  # a prompt of padding, whose result nobody reads
            row = [*prompts, np.full(filling, self.pad_token_id)]
            lengths = [*lengths, filling]
        bounds = np.cumsum([0, *lengths])
        positions = np.concatenate([np.arange(n) for n in lengths])
        ends = torch.from_numpy(bounds.astype(np.int32))
        inputs = {
            "input_ids": torch.from_numpy(np.concatenate(row)[None].astype(np.int64)),
            "position_ids": torch.from_numpy(positions[None]),
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": ends,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
        }
        return Batch(rows, prompts, bounds[: len(rows)], inputs)
