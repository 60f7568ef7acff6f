"""How much goes through a model at once: budgets of tokens from free memory, and progress."""

from __future__ import annotations

import resource
import sys

import numpy as np
import psutil
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

CPU_TOKENS = 4096  # measured on two cores: larger batches fall out of the cache
GPU_TOKENS = 2**15  # its matrices are large enough by then; more would only cost memory
CPU_CACHE, GPU_CACHE = 2**16, 2**19  # tokens decoded together: more rows gain nothing by then
GPU_BYTES_PER_VALUE = 24  # working memory of one layer, per token and hidden or MLP value


def devices_of(model: torch.nn.Module) -> list[torch.device]:
    """The devices that hold the model, that of the token embeddings first."""
    return list(dict.fromkeys(parameter.device for parameter in model.parameters()))


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on a device."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def resolve_max_batch_tokens(value: int | str | None, model: torch.nn.Module) -> int:
    """Token budget of a batch; "auto" (or None) is found from the devices' free memory."""
    if value not in (None, "auto"):
        return int(value)
    devices = devices_of(model)
    if devices[0].type != "cuda":
        return CPU_TOKENS
    config = model.config
    per_token = GPU_BYTES_PER_VALUE * (config.hidden_size + config.intermediate_size)
    free = min(free_bytes(device) for device in devices)
    return int(np.clip(0.5 * free // per_token, 1024, GPU_TOKENS))


def resolve_cache_tokens(value: int | str | None, model: PreTrainedModel) -> int:
    """Tokens that are decoded together; "auto" (or None) is found from the devices' free memory.

    A token keeps its keys and values in every layer; weights are read once for all rows of a step,
    so that more rows cost little until the cache itself is what memory is busy with.
    """
    if value not in (None, "auto"):
        return int(value)
    config = model.config
    n_heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    kept = 2 * getattr(config, "num_key_value_heads", n_heads) * width * config.num_hidden_layers
    free = sum(free_bytes(device) for device in devices_of(model))
    share, most = (0.5, GPU_CACHE) if model.device.type == "cuda" else (0.25, CPU_CACHE)
    return int(np.clip(share * free // (kept * model.dtype.itemsize), 1024, most))


def progress_bar(total: int, unit: str, show: bool) -> tqdm:
    """A bar on a terminal; in a log file a line every half a minute."""
    interval = 0.1 if sys.stderr.isatty() else 30
    return tqdm(total=total, unit=unit, disable=not show, mininterval=interval)


def peak_memory(device: torch.device) -> int:
    """Most bytes this process has held: on the GPU, or of main memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
