"""Embeddings of cell sentences: prefill only, sorted by length, pooled over real tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from transformers import PreTrainedModel

from c2sflow.batching import (
    pad_left,
    peak_memory,
    progress_bar,
    resolve_max_batch_tokens,
    run_batches,
    token_batches,
)
from c2sflow.errors import UserError

Pooling = Literal["mean", "last"]


@dataclass
class EmbeddingStats:
    """What a run of `embed_tokens` did: for the log, the report and the benchmarks."""

    n_tokens: int = 0
    n_padding: int = 0
    seconds: float = 0.0
    seconds_model: float = 0.0
    max_batch_tokens: int = 0
    peak_memory_bytes: int = 0


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """float32 (n_rows, hidden_size): mean over real tokens, or the last (left padding).

    Parameters
    ----------
    hidden
        (n_rows, length, hidden_size), any float dtype.
    attention_mask
        (n_rows, length), 1 on real tokens.
    """
    if pooling == "last":
        return hidden[:, -1].float()
    mask = attention_mask.to(hidden.device).unsqueeze(-1)
    # masked_fill, not a product: what stands on padding may be infinite.
    summed = hidden.masked_fill(mask == 0, 0).sum(dim=1, dtype=torch.float32)
    return summed / mask.sum(dim=1)


def check_layer(model: PreTrainedModel, layer: int) -> int:
    """Position of `layer` among the hidden states (0 the embeddings, num_layers the last).

    Raises
    ------
    UserError
        If the model has no such layer.
    """
    n_layers = model.config.num_hidden_layers
    if not -n_layers - 1 <= layer <= n_layers:
        raise UserError(
            f"--embedding_layer {layer}: the model has layers 0 to {n_layers} (or -1, the last)"
        )
    return layer % (n_layers + 1)


def _forward(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, layer: int
) -> torch.Tensor:
    """Hidden state (n_rows, length, hidden_size) after `layer`, of the backbone alone.

    Only one hidden state is kept: a hook takes it, and the layers after it are not computed.
    """
    # Positions count real tokens: a row's result does not depend on its padding.
    positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    if layer == model.config.num_hidden_layers:
        return model(**inputs, use_cache=False).last_hidden_state

    def stop(_module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        raise _LayerReached(args[0] if args else kwargs["hidden_states"])

    handle = model.layers[layer].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(**inputs, use_cache=False)
    except _LayerReached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise RuntimeError("the layer was never reached")


class _LayerReached(Exception):
    """Leaves the forward pass with the hidden state in hand."""

    def __init__(self, hidden: torch.Tensor):
        self.hidden = hidden


@torch.inference_mode()
def embed_tokens(
    model: PreTrainedModel,
    input_ids: Sequence[np.ndarray],
    pad_token_id: int,
    *,
    pooling: Pooling = "mean",
    layer: int = -1,
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, EmbeddingStats]:
    """Embed prompts.

    Parameters
    ----------
    model
        A backbone without head, from `c2sflow.models.load_model`.
    input_ids
        Token ids of each prompt, from `c2sflow.tokenization.tokenize_prompts`.
    pad_token_id
        The tokenizer's padding token.
    pooling
        "mean" over the prompt's tokens, or the "last" one.
    layer
        Hidden state to pool: -1 the last, after the final norm; 0 the token embeddings.
    max_batch_tokens
        Most tokens a batch, padding included; "auto" finds it from free memory.
    max_rows
        Most prompts a batch; None for no other limit than tokens.

    Returns
    -------
    float32 (n_prompts, hidden_size) in the order of `input_ids` (NaN for an empty prompt), and
    the figures of the run.
    """
    layer = check_layer(model, layer)
    device = next(model.parameters()).device
    lengths = np.array([ids.size for ids in input_ids], dtype=np.int64)
    stats = EmbeddingStats(n_tokens=int(lengths.sum()))
    stats.max_batch_tokens = resolve_max_batch_tokens(max_batch_tokens, model)
    result = np.full((len(input_ids), model.config.hidden_size), np.nan, dtype=np.float32)
    started = time.perf_counter()

    def run(batch: np.ndarray) -> None:
        ids, mask = pad_left([input_ids[row] for row in batch], pad_token_id, device)
        begun = time.perf_counter()
        vectors = pool(_forward(model, ids, mask, layer), mask, pooling).cpu().numpy()
        stats.seconds_model += time.perf_counter() - begun
        stats.n_padding += ids.numel() - int(lengths[batch].sum())
        result[batch] = vectors

    batches = token_batches(lengths, stats.max_batch_tokens, max_rows=max_rows)
    with progress_bar(int((lengths > 0).sum()), "cell", progress) as bar:
        run_batches(batches, run, bar.update)
    stats.seconds = time.perf_counter() - started
    stats.peak_memory_bytes = peak_memory(device)
    return result, stats
