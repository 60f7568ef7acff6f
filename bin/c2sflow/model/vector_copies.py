"""Vectors of a batch on their way from the device, and the time that the device took for it."""

from __future__ import annotations

import time

import numpy as np
import torch

from c2sflow.model.batching import Batch


class VectorCopy:
    """From the CPU, where they are at once."""

    def __init__(self, batch: Batch):
        self.batch = batch
        self.started = time.perf_counter()

    def begin(self, vectors: torch.Tensor) -> None:
        """Start to copy."""
        self.vectors = vectors
        self.seconds = time.perf_counter() - self.started

    def wait(self) -> tuple[np.ndarray, float]:
        """float32 (n_rows, hidden_size), and seconds."""
        return self.vectors.numpy(), self.seconds


class CudaVectorCopy(VectorCopy):
    """From a GPU, which computes while the copy is under way."""

    def __init__(self, batch: Batch):
        super().__init__(batch)
        self.before, self.after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.before.record()

    def begin(self, vectors: torch.Tensor) -> None:
        """Start to copy, to pinned memory."""
        self.vectors = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
        self.vectors.copy_(vectors, non_blocking=True)
        self.after.record()

    def wait(self) -> tuple[np.ndarray, float]:
        """float32 (n_rows, hidden_size), and seconds of the GPU."""
        self.after.synchronize()
        return self.vectors.numpy(), self.before.elapsed_time(self.after) / 1000


def vector_copy(batch: Batch, device: torch.device) -> VectorCopy:
    """The copy that suits a device, its clock started."""
    return CudaVectorCopy(batch) if device.type == "cuda" else VectorCopy(batch)
