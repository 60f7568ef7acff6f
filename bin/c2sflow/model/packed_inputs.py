"""What flex_attention takes of packed prompts: the blocks of its mask, known from their bounds.

transformers makes the same mask from the positions: by a compiled function, for each batch and each
kind of layer, and with a question to the GPU that waits for all its work. Here it is counted on the
CPU in a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask
from transformers import PreTrainedModel

from c2sflow.model.architectures.registry import family_of
from c2sflow.model.batching import Batch, on_device

BLOCK = 128  # tokens: flex_attention's own default, for queries and for keys


def inputs_for(model: PreTrainedModel, batch: Batch) -> dict:
    """Keywords of the model's forward for a batch, on its device.

    For a family whose layers take a mask by kind, packed rows of flex_attention come with theirs.
    """
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ())
    own = (
        config._attn_implementation == "flex_attention"
        and family_of(config.model_type).masks_by_kind
    )
    if not own or not kinds <= {"full_attention", "sliding_attention"}:
        return batch.inputs_on(model.device)
    bounds = batch.inputs["cu_seq_lens_q"].numpy()
    windows = {kind: config.sliding_window if kind[0] == "s" else None for kind in sorted(kinds)}
    return {
        "input_ids": on_device(batch.inputs["input_ids"], model.device),
        "position_ids": on_device(batch.inputs["position_ids"], model.device),
        "attention_mask": {
            kind: block_mask(first_seen(bounds, window), model.device)
            for kind, window in windows.items()
        },
    }


def first_seen(bounds: np.ndarray, window: int | None = None) -> np.ndarray:
    """First token of a packed row that each of its tokens sees: int32 (length,), ascending.

    Parameters
    ----------
    bounds
        int (n_prompts + 1,): where each prompt begins, and where the last one ends.
    window
        Tokens that a token sees, itself included; None for all of its prompt.
    """
    first = np.repeat(bounds[:-1], np.diff(bounds))
    if window:
        first = np.maximum(first, np.arange(first.size) - window + 1)
    return first.astype(np.int32)


def block_mask(first: np.ndarray, device: torch.device) -> BlockMask:
    """Mask of one row in which each token sees from `first` of it up to itself.

    Parameters
    ----------
    first
        int32 (length,), ascending; the length is a multiple of `BLOCK`.
    """
    n_blocks, left = divmod(first.size, BLOCK)
    if left:
        raise ValueError(f"{first.size} tokens are no multiple of {BLOCK}")
    row, column = np.arange(n_blocks)[:, None], np.arange(n_blocks)
    seen = (column >= first[::BLOCK, None] // BLOCK) & (column <= row)
    whole = seen & (column < row) & (column * BLOCK >= first[BLOCK - 1 :: BLOCK, None])
    return BlockMask.from_kv_blocks(
        *_listed(seen & ~whole, device),
        *_listed(whole, device),
        BLOCK_SIZE=BLOCK,
        mask_mod=_sees_from(on_device(torch.from_numpy(first), device)),
        seq_lengths=(first.size, first.size),
    )


def _listed(blocks: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """How many blocks of each row are set, int32 (1, 1, n), and which, first in (1, 1, n, n)."""
    counts = blocks.sum(axis=1, dtype=np.int32)
    order = np.argsort(~blocks, axis=1, kind="stable").astype(np.int32)
    listed = (torch.from_numpy(array[None, None]) for array in (counts, order))
    return on_device(next(listed), device), on_device(next(listed), device)


def _sees_from(first: torch.Tensor) -> Callable[..., torch.Tensor]:
    def sees(
        _batch: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        return (key <= query) & (key >= first[query])

    return sees
