"""Where a model runs, and in which number format: decided before its weights are read."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import torch
from transformers import PreTrainedConfig

from c2sflow.common.errors import UserError
from c2sflow.model.memory_plan import ALTERNATIVES, MemoryPlan

SMALL = 1024  # hidden size below which a CPU's number format is not worth a measurement


def has_cuda() -> bool:
    """Whether torch was installed with CUDA's libraries (`containers/without_cuda`)."""
    return not Path(torch.__file__).with_name("lib").joinpath("libwithout_cuda.so").exists()


def sees_gpu() -> bool:
    """Whether torch can compute on a GPU here."""
    return has_cuda() and torch.cuda.is_available()


def resolve_device(device: str = "auto") -> torch.device:
    """`auto` is the GPU where there is one.

    Raises
    ------
    UserError
        If cuda is asked for and torch sees no GPU: never falls back to the CPU in silence.
    """
    if device == "auto":
        device = "cuda" if sees_gpu() else "cpu"
    if device.startswith("cuda") and not has_cuda():
        raise UserError(
            "--device cuda: torch was installed without CUDA here. `TORCH=cuda make setup` "
            "installs it with CUDA; images that have it are those without -cpu in their names"
        )
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


def place(
    plan: MemoryPlan, quantization: str, device: torch.device, free: list[int], what: str = " free"
) -> dict[str, str] | dict[str, int]:
    """transformers' ``device_map``: one device if the model fits, else all GPUs of the task.

    Parameters
    ----------
    quantization
        none, nf4 or int8.
    device
        Of `resolve_device`.
    free
        Bytes free on each visible GPU; on a CPU those of main memory.
    what
        What the message calls them.

    Raises
    ------
    UserError
        If the model does not fit.
    """
    if device.index is not None:
        free = [free[device.index]]
    if _fits(plan, quantization, free):
        return {"": f"cuda:{device.index or 0}" if device.type == "cuda" else device.type}
    if found := _split(plan, quantization, free):
        return found
    where = f"{len(free)} GPUs have" if len(free) > 1 else f"{device} has"
    raise UserError(
        f"{_takes(plan, quantization)}, and {where} {amount(sum(free))}{what}; "
        f"{_advice(plan, quantization, device.type, free, what)}"
    )


def _fits(plan: MemoryPlan, quantization: str, free: list[int]) -> bool:
    """Whether one device, the first, is enough."""
    return plan.weights(quantization) + plan.working() <= free[0]


def _split(plan: MemoryPlan, quantization: str, free: list[int]) -> dict[str, int] | None:
    """The parts on several GPUs, each with room to work; None if they do not fit."""
    room = [size - plan.working() for size in free]
    return plan.split(quantization, room) if len(free) > 1 and min(room) > 0 else None


def _takes(plan: MemoryPlan, quantization: str) -> str:
    """How much memory a model takes, in words."""
    form = str(plan.dtype).removeprefix("torch.") if quantization == "none" else quantization
    return (
        f"it takes {amount(plan.weights(quantization))} in {form} and "
        f"{amount(plan.working())} to work"
    )


def _advice(
    plan: MemoryPlan, quantization: str, kind: str, free: list[int], what: str = " free"
) -> str:
    """What makes a model fit that does not.

    Parameters
    ----------
    kind
        cpu or cuda.
    free
        Bytes free on each device.
    """
    sizes = {name: plan.weights(name) for name in ALTERNATIVES}
    smaller = [name for name, size in sizes.items() if size < plan.weights(quantization)]
    fit = [n for n in smaller if _fits(plan, n, free) or _split(plan, n, free)]
    named = " or ".join(f"{name} ({amount(sizes[name])})" for name in fit)
    ways = [f"--quantization {named}"] if fit else []
    more = f"with {amount(plan.weights(quantization) + plan.working())}{what}"
    if kind == "cuda":
        ways += [f"a GPU {more}", "several GPUs (--gpus_per_task)"]
    else:
        ways += [f"a machine {more}"]
    rest = f"; even nf4 takes {amount(sizes['nf4'])}" if "nf4" in smaller and not fit else ""
    return f"use {' or '.join([', '.join(ways[:-1]), ways[-1]] if ways[1:] else ways)}{rest}"


def amount(size: float) -> str:
    """Bytes in GiB or MiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def free_memory(device: torch.device) -> list[int]:
    """Bytes free on each visible GPU, or of main memory."""
    if device.type != "cuda":
        return [psutil.virtual_memory().available]
    return [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]


def whole_memory(device: torch.device) -> list[int]:
    """Bytes of each visible GPU, or of main memory, whoever uses them now."""
    if device.type != "cuda":
        return [psutil.virtual_memory().total]
    numbers = range(torch.cuda.device_count())
    return [torch.cuda.get_device_properties(number).total_memory for number in numbers]
