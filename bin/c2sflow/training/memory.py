"""Whether a training fits into memory, known before the model is read."""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig

from c2sflow.common.errors import UserError
from c2sflow.model.memory_plan import MemoryPlan
from c2sflow.model.placement import amount, free_memory

# float32 weights that are trained, their gradients, and AdamW's two moments of each.
TRAINED = 4 * 4
# By method, what its weights are kept in; None for those of --dtype.
METHODS = {"full": (torch.float32, "none"), "lora": (None, "none"), "qlora": (None, "nf4")}


def training_bytes(
    config: PreTrainedConfig, method: str, precision: torch.dtype, lora_rank: int
) -> int:
    """Bytes of a training's weights, gradients and moments, and the least that it works with.

    Parameters
    ----------
    method
        lora, qlora or full: see `c2sflow.training.trainee.load_trainee`.
    precision
        dtype of the weights that are not trained.
    """
    kept, quantization = METHODS[method]
    plan = MemoryPlan(config, kept or precision, head=True)
    if method == "full":
        return TRAINED // 4 * plan.weights() + plan.working()
    adapters = sum(lora_rank * sum(shape) for shape in plan.matrices().values())
    return plan.weights(quantization) + TRAINED * adapters + plan.working()


def check_training_memory(
    config: PreTrainedConfig,
    method: str,
    device: torch.device,
    precision: torch.dtype,
    lora_rank: int,
) -> None:
    """A training is on one device.

    Raises
    ------
    UserError
        If it does not fit there.
    """
    free = free_memory(device)[(device.index or 0) if device.type == "cuda" else 0]
    needed = {
        name: training_bytes(config, name, precision, lora_rank)
        for name in [method, *(n for n in METHODS if n != method)]
    }
    if needed[method] <= free:
        return
    fits = [f"{n} ({amount(size)})" for n, size in needed.items() if size <= free]
    mend = f"--finetune_method {' or '.join(fits)}, or " if fits else ""
    memory = "GPU" if device.type == "cuda" else "machine"
    raise UserError(
        f"to train it by the method {method} takes {amount(needed[method])}, and {device} has "
        f"{amount(free)} free; use {mend}a {memory} with more memory"
    )
