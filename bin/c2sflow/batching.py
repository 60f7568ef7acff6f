"""Batches of prompts: by length, to a budget of tokens, in any memory.

Sorting the whole shard by length makes the padding negligible; the budget counts padded tokens
instead of cells, so that a batch of long cells is as heavy as one of short ones.
"""

from __future__ import annotations

import logging
import resource
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from tqdm import tqdm

LOGGER = logging.getLogger(__name__)

# Attention that keeps its matrix needs memory and time by the square of the length: a batch may
# hold at most this many tokens per token of budget squared (see `token_batches`).
QUADRATIC = 512
CPU_TOKENS = 4096  # measured on two cores: larger batches fall out of the cache
GPU_BYTES_PER_VALUE = 24  # working memory of one layer, per token and hidden or MLP value


def token_batches(
    lengths: Sequence[int],
    max_tokens: int,
    extra: int = 0,
    max_square: int | None = None,
    max_rows: int | None = None,
) -> list[np.ndarray]:
    """Cut prompts into batches of like length.

    Parameters
    ----------
    lengths
        Tokens of each prompt; prompts of length 0 are in no batch.
    max_tokens
        Most tokens of a batch, padding included. A longer prompt is a batch of its own.
    extra
        Tokens each prompt will still generate; they count.
    max_square
        Most rows x length² of a batch, for attention that keeps its matrix.
    max_rows
        Most prompts of a batch.

    Returns
    -------
    Batches of positions in `lengths`, longest first: what does not fit is found at once, not
    after hours.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    max_square = max_square or QUADRATIC * max_tokens
    batches, start = [], 0
    while start < order.size:
        longest = int(lengths[order[start]]) + extra
        rows = min(max_tokens // longest, max_square // longest**2, max_rows or order.size)
        rows = max(1, rows)
        batches.append(order[start : start + rows])
        start += rows
    return batches


def resolve_max_batch_tokens(value: int | str | None, model: torch.nn.Module) -> int:
    """Token budget of a batch; "auto" (or None) is found from the device's free memory."""
    if value not in (None, "auto"):
        return int(value)
    device = next(model.parameters()).device
    if device.type != "cuda":
        return CPU_TOKENS
    free, _ = torch.cuda.mem_get_info(device)
    config = model.config
    per_token = GPU_BYTES_PER_VALUE * (config.hidden_size + config.intermediate_size)
    return int(np.clip(0.5 * free // per_token, 1024, 2**18))


def run_batches(
    batches: list[np.ndarray], run: Callable[[np.ndarray], None], progress: Callable[[int], object]
) -> None:
    """Call `run` on each batch; one that runs out of memory is halved, and so on.

    Parameters
    ----------
    run
        Works on the rows of a batch and stores their results; called anew on parts of the batch
        after an out-of-memory error.
    progress
        Told the number of rows done.

    Raises
    ------
    torch.OutOfMemoryError
        If a single row does not fit.
    """
    stack = batches[::-1]
    while stack:
        batch = stack.pop()
        try:
            run(batch)
        except torch.OutOfMemoryError:
            if batch.size == 1:
                raise
            torch.cuda.empty_cache()
            LOGGER.warning("out of memory with %d prompts a batch: budget halved", batch.size)
            # The other batches are as heavy, and would fail as well.
            halves = [np.array_split(b, 2)[::-1] for b in [*stack, batch]]
            stack = [half for pair in halves for half in pair if half.size]
        else:
            progress(batch.size)


def pad_left(
    input_ids: Sequence[np.ndarray], pad_token_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """input_ids int64 and attention_mask int64, (n_rows, longest), padded on the left."""
    longest = max(ids.size for ids in input_ids)
    ids = np.full((len(input_ids), longest), pad_token_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(input_ids):
        ids[row, longest - tokens.size :] = tokens
        mask[row, longest - tokens.size :] = 1
    return tuple(_to_device(array, device) for array in (ids, mask))


def progress_bar(total: int, unit: str, show: bool) -> tqdm:
    """A bar on a terminal; in a log file a line every half a minute."""
    interval = 0.1 if sys.stderr.isatty() else 30
    return tqdm(total=total, unit=unit, disable=not show, mininterval=interval)


def peak_memory(device: torch.device) -> int:
    """Most bytes this process has held: on the GPU, or of main memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def _to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    if device.type == "cuda":  # pinned memory is copied while the GPU computes
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor
