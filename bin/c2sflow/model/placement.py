"""Where a model runs, and in which number format: decided before its weights are read."""

from __future__ import annotations

import math
import time
from pathlib import Path

import psutil
import torch
from transformers import PreTrainedConfig

from c2sflow.common.errors import UserError
from c2sflow.model.weights import weight_shapes

WORKING_MEMORY = 2**30  # what a small batch needs beside the weights
BYTES = {"nf4": 0.56, "int8": 1.02}  # a weight of a quantised matrix, its scales included
SMALL = 1024  # hidden size below which a CPU's number format is not worth a measurement


def resolve_device(device: str = "auto") -> torch.device:
    """`auto` is the GPU where there is one.

    Raises
    ------
    UserError
        If cuda is asked for and torch sees no GPU: never falls back to the CPU in silence.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: torch sees no GPU here. Check nvidia-smi, CUDA_VISIBLE_DEVICES and "
            "that the container was started with GPU access, or use --device cpu"
        )
    return torch.device(device)


def resolve_dtype(dtype: str, device: torch.device, config: PreTrainedConfig) -> torch.dtype:
    """`auto` is bfloat16 on a GPU that has it; on a CPU what a large model's matrices like best.

    Most CPUs are faster in float32, which is also exact; those with matrix units for bfloat16
    (AMX) are several times faster in that. Small models are float32 on every CPU.
    """
    if dtype != "auto":
        return getattr(torch, dtype)
    if device.type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    if config.hidden_size < SMALL:
        return torch.float32
    seconds = {kind: _seconds_of_product(kind, config) for kind in (torch.float32, torch.bfloat16)}
    return torch.bfloat16 if 2 * seconds[torch.bfloat16] < seconds[torch.float32] else torch.float32


def _seconds_of_product(dtype: torch.dtype, config: PreTrainedConfig) -> float:
    """Fastest of three products of 256 tokens with a matrix of the model's MLP."""
    tokens = torch.ones(256, config.hidden_size, dtype=dtype)
    weight = torch.ones(config.hidden_size, config.intermediate_size, dtype=dtype)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        tokens @ weight
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def weight_bytes(directory: str | Path, dtype: torch.dtype, quantization: str, head: bool) -> int:
    """Memory of the weights; the vocabulary's matrix and the small ones are never quantised."""
    shapes = list(weight_shapes(directory).values())
    sizes = sorted((math.prod(shape) for shape in shapes), reverse=True)
    if quantization == "none":
        return sum(sizes) * dtype.itemsize
    tied = len([shape for shape in shapes if math.prod(shape) == sizes[0]])
    vocabulary = sizes[0] * (tied if head else 1)
    return int(vocabulary * dtype.itemsize + (sum(sizes) - vocabulary) * BYTES[quantization])


def place(needed: int, device: torch.device, free: list[int]) -> str | dict[str, str]:
    """transformers' ``device_map``: one device if the model fits, else all GPUs of the task.

    Parameters
    ----------
    needed
        Bytes of the weights.
    device
        Of `resolve_device`.
    free
        Bytes free on each visible GPU; on a CPU those of main memory.

    Raises
    ------
    UserError
        If the model does not fit.
    """
    if device.index is not None:
        free = [free[device.index]]
    if needed + WORKING_MEMORY <= free[0]:
        return {"": f"cuda:{device.index or 0}" if device.type == "cuda" else device.type}
    if len(free) > 1 and needed + len(free) * WORKING_MEMORY <= sum(free):
        return "auto"
    where = f"{len(free)} GPUs have" if len(free) > 1 else f"{device} has"
    raise UserError(
        f"the model's weights need {needed / 2**30:.1f} GiB and {where} {sum(free) / 2**30:.1f} "
        "GiB free; use --quantization nf4, a larger GPU, or several (--gpus_per_task)"
    )


def free_memory(device: torch.device) -> list[int]:
    """Bytes free on each visible GPU, or of main memory."""
    if device.type != "cuda":
        return [psutil.virtual_memory().available]
    return [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
