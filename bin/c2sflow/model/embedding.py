"""Embeddings of cell sentences: one pass of the backbone, batched to a budget of tokens."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.common.progress import progress_bar
from c2sflow.model.architectures.registry import family_of
from c2sflow.model.attention import PACKED
from c2sflow.model.batching import (
    Batch,
    PromptPool,
    free_bytes,
    peak_memory,
    resolve_max_batch_tokens,
)
from c2sflow.model.memory import MemoryWatch, halved
from c2sflow.model.tokenization import TokenizedPrompts, tokenize_ahead

LOGGER = logging.getLogger(__name__)

Pooling = Literal["mean", "last", "genes"]
LOOKAHEAD = 4  # batches' worth of prompts that wait, so that each batch can choose


@dataclass
class EmbeddingStats:
    """What a run did: for the log, the report and the benchmarks."""

    n_tokens: int = 0
    n_padding: int = 0
    seconds: float = 0.0
    seconds_model: float = 0.0
    max_batch_tokens: int = 0
    peak_memory_bytes: int = 0

    @property
    def padding_fraction(self) -> float:
        """Share of padding in all tokens that went through the model."""
        return self.n_padding / max(1, self.n_tokens + self.n_padding)


@dataclass
class Embeddings:
    """Result of `embed_cells`, in the order of its records.

    Attributes
    ----------
    vectors
        float32 (n_cells, hidden_size); NaN for a cell without genes.
    n_genes, n_tokens
        int32 (n_cells,): genes and tokens of the prompt as used.
    truncated
        bool (n_cells,): genes were left out because the context is full.
    """

    vectors: np.ndarray
    n_genes: np.ndarray
    n_tokens: np.ndarray
    truncated: np.ndarray
    stats: EmbeddingStats = field(default_factory=EmbeddingStats)


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


def embed_cells(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    records: Sequence[Mapping[str, object]],
    *,
    pooling: Pooling = "mean",
    layer: int = -1,
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> Embeddings:
    """Embed cell sentences.

    Prompts are tokenised by a thread while the model works on those before.

    Parameters
    ----------
    model
        A backbone without head, from `c2sflow.model.loading.load_model`.
    template
        Embedding prompt.
    records
        cell_sentence, n_genes, organism and the other fields of `template`.
    pooling
        "mean" over the prompt's tokens, the "last" one, or the mean over those of the "genes".
    layer
        Hidden state to pool: -1 the last, after the final norm; 0 the token embeddings.
    max_batch_tokens
        Most tokens a batch, padding included; "auto" finds it from free memory. Halved when
        memory runs out.
    max_rows
        Most prompts a batch; None for no other limit than tokens.

    Raises
    ------
    UserError
        If the model has no such layer, or its values exceed the range of its dtype.
    """
    n_cells = len(records)
    embeddings = Embeddings(
        vectors=np.full((n_cells, model.config.hidden_size), np.nan, dtype=np.float32),
        n_genes=np.zeros(n_cells, dtype=np.int32),
        n_tokens=np.zeros(n_cells, dtype=np.int32),
        truncated=np.zeros(n_cells, dtype=bool),
    )
    engine = _Engine(model, tokenizer.pad_token_id, layer, max_batch_tokens, max_rows, embeddings)
    context = model.config.max_position_embeddings
    chunks = tokenize_ahead(tokenizer, template, records, context, mixed=engine.pool.packed)
    with progress_bar(n_cells, "cell", progress) as bar:
        engine.run(chunks, pooling, bar)
    overflown = (embeddings.n_tokens > 0) & ~np.isfinite(embeddings.vectors).all(axis=1)
    if overflown.any():
        dtype = str(model.dtype).removeprefix("torch.")
        raise UserError(
            f"{overflown.sum()} embeddings are not finite: values of this model exceed the range "
            f"of {dtype}; use --dtype bfloat16 or float32"
        )
    return embeddings


def _spans(prompts: TokenizedPrompts, pooling: Pooling) -> np.ndarray:
    """First token that is pooled, and the first that is not any more: int (n_prompts, 2)."""
    if pooling == "genes":
        return prompts.sentences
    ends = prompts.n_tokens
    return np.stack([ends - 1 if pooling == "last" else np.zeros_like(ends), ends], axis=1)


class _Engine:
    """Batches through the model, results in their place."""

    def __init__(
        self,
        model: PreTrainedModel,
        pad_token_id: int,
        layer: int,
        max_batch_tokens: int | str | None,
        max_rows: int | None,
        embeddings: Embeddings,
    ):
        attention = model.config._attn_implementation
        budget = resolve_max_batch_tokens(max_batch_tokens, model)
        self.model, self.embeddings, self.stats = model, embeddings, embeddings.stats
        self.layer = check_layer(model, layer)
        self.device = next(model.parameters()).device
        self.spans: dict[int, tuple[int, int]] = {}
        self.copies: deque[_Copy] = deque()
        self.pool = PromptPool(
            budget,
            pad_token_id,
            packed=attention in PACKED,
            # One length of row, or a few: flex_attention is compiled for each.
            multiple=max(1, budget // 8) if attention == "flex_attention" else 1,
            quadratic=attention == "eager",
            max_rows=max_rows,
        )
        LOGGER.info(
            "%d cells to embed: %.1f GiB free, batches of up to %d tokens",
            len(embeddings.vectors), free_bytes(self.device) / 2**30, budget,
        )  # fmt: skip

    def run(
        self,
        chunks: Iterable[tuple[np.ndarray, TokenizedPrompts]],
        pooling: Pooling,
        bar: tqdm,
    ) -> None:
        """Embed the prompts of all chunks."""
        started = time.perf_counter()
        for rows, prompts in chunks:
            self._receive(rows, prompts, pooling, bar)
            while self.pool.n_tokens > LOOKAHEAD * self.pool.max_tokens:
                self._step(bar)
        while self.pool:
            self._step(bar)
        while self.copies:
            self._store(bar)
        self.stats.seconds = time.perf_counter() - started
        self.stats.max_batch_tokens = self.pool.max_tokens
        self.stats.peak_memory_bytes = peak_memory(self.device)

    def _receive(
        self, rows: np.ndarray, prompts: TokenizedPrompts, pooling: Pooling, bar: tqdm
    ) -> None:
        self.embeddings.n_genes[rows] = prompts.n_genes
        self.embeddings.n_tokens[rows] = prompts.n_tokens
        self.embeddings.truncated[rows] = prompts.truncated
        spans = _spans(prompts, pooling).tolist()
        for row, ids, span in zip(rows.tolist(), prompts.input_ids, spans, strict=True):
            self.pool.add(row, ids)
            self.spans[row] = span
        bar.update(sum(ids.size == 0 for ids in prompts.input_ids))

    def _step(self, bar: tqdm) -> None:
        """One batch; out of memory, it goes back and the budget is halved."""
        batch = self.pool.take()
        with MemoryWatch() as memory:
            self.copies.append(self._embed(batch))
        if memory.ran_out:
            alone = len(batch.rows) == 1
            half = halved(self.pool.max_tokens, batch.n_tokens, self.device, alone=alone)
            self.pool.put_back(batch, half)
        # The batch before is fetched while the GPU computes this one.
        while len(self.copies) > 1 or (self.copies and self.device.type != "cuda"):
            self._store(bar)

    @torch.inference_mode()
    def _embed(self, batch: Batch) -> _Copy:
        copy = _CudaCopy(batch) if self.device.type == "cuda" else _Copy(batch)
        hidden = _forward(self.model, batch.inputs_on(self.device), self.layer).flatten(0, 1)
        vectors = [
            hidden[start + self.spans[row][0] : start + self.spans[row][1]].mean(
                dim=0, dtype=torch.float32
            )
            for row, start in zip(batch.rows, batch.starts.tolist(), strict=True)
        ]
        copy.begin(torch.stack(vectors))
        return copy

    def _store(self, bar: tqdm) -> None:
        copy = self.copies.popleft()
        self.embeddings.vectors[copy.batch.rows], seconds = copy.wait()
        self.stats.seconds_model += seconds
        self.stats.n_tokens += copy.batch.n_tokens
        self.stats.n_padding += copy.batch.n_slots - copy.batch.n_tokens
        for row in copy.batch.rows:
            del self.spans[row]
        bar.set_postfix_str(
            f"{self.stats.n_tokens / max(bar.format_dict['elapsed'], 1e-9):.0f} tokens/s, "
            f"{100 * self.stats.padding_fraction:.1f} % padding",
            refresh=False,
        )
        bar.update(len(copy.batch.rows))


class _Copy:
    """Vectors of a batch on their way from the device, and the time the device took."""

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


class _CudaCopy(_Copy):
    """From a GPU, which computes while the copy is under way."""

    def __init__(self, batch: Batch):
        super().__init__(batch)
        self.before, self.after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.before.record()

    def begin(self, vectors: torch.Tensor) -> None:
        self.vectors = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
        self.vectors.copy_(vectors, non_blocking=True)
        self.after.record()

    def wait(self) -> tuple[np.ndarray, float]:
        self.after.synchronize()
        return self.vectors.numpy(), self.before.elapsed_time(self.after) / 1000


def _forward(model: PreTrainedModel, inputs: dict, layer: int) -> torch.Tensor:
    """Hidden state (n_rows, length, hidden_size) after `layer`, of the backbone alone.

    Only one hidden state is kept: a hook takes it, and the layers after it are not computed.
    """
    if layer == model.config.num_hidden_layers:
        return model(**inputs, use_cache=False).last_hidden_state

    def stop(_module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        raise LayerReached(args[0] if args else kwargs["hidden_states"])

    layers = family_of(model.config.model_type).layers(model)
    handle = layers[layer].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(**inputs, use_cache=False)
    except LayerReached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise RuntimeError("the layer was never reached")


class LayerReached(Exception):
    """Leaves the forward pass with what was wanted of it."""

    def __init__(self, hidden: torch.Tensor):
        self.hidden = hidden
