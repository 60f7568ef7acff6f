"""Batches of prompts through a backbone, and their vectors to their places."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from c2sflow.common.errors import UserError, brief
from c2sflow.model.agreement import disagreement_of
from c2sflow.model.architectures.registry import family_of
from c2sflow.model.attention import BLOCKWISE, TAKE_PACKED, using
from c2sflow.model.batching import (
    Batch,
    PromptPool,
    devices_of,
    free_bytes,
    on_device,
    peak_memory,
    resolve_max_batch_tokens,
)
from c2sflow.model.fused_layers import fused_layers
from c2sflow.model.memory import MemoryWatch, halved
from c2sflow.model.packed_attention import MULTIPLE, PACKED, inputs_for
from c2sflow.model.pooling import Pooling, mean_over, pooled_spans
from c2sflow.model.tokenization import TokenizedPrompts
from c2sflow.model.vector_copies import VectorCopy, vector_copy

LOGGER = logging.getLogger(__name__)

LOOKAHEAD = 4  # batches' worth of prompts that wait, so that each batch can choose
LENGTHS = 8  # lengths of a packed row, for each of which flex_attention is compiled
FUSES = {"cuda"}  # types of device on which layers are fused, and the first batch is checked


@dataclass
class EmbeddingStats:
    """What a run did: for the log, the report and the benchmarks."""

    n_tokens: int = 0
    n_padding: int = 0
    seconds: float = 0.0
    seconds_model: float = 0.0
    max_batch_tokens: int = 0
    peak_memory_bytes: int = 0
    fused: bool = False  # layers, to the end: see c2sflow.model.fused_layers

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
    spread
        float32 (n_cells,): how far the wordings of a prompt are apart, see
        `c2sflow.model.wordings.embed_wordings`; None of one wording.
    """

    vectors: np.ndarray
    n_genes: np.ndarray
    n_tokens: np.ndarray
    truncated: np.ndarray
    stats: EmbeddingStats = field(default_factory=EmbeddingStats)
    spread: np.ndarray | None = None


class Engine:
    """Batches through the model, results in their place.

    Parameters
    ----------
    layer
        Hidden state to pool, 0 to the number of layers.
    max_batch_tokens, max_rows
        See `c2sflow.model.embedding.embed_cells`.
    embeddings
        Filled in.
    """

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
        self.layer = layer
        self.device = next(model.parameters()).device
        self.spans: dict[int, np.ndarray] = {}
        self.copies: deque[VectorCopy] = deque()
        # What is checked is compared with `blockwise`, which not all families take.
        attentions = family_of(model.config.model_type).attentions
        self.believed = self.device.type not in FUSES or BLOCKWISE not in attentions
        self.stats.fused = not self.believed and len(devices_of(model)) == 1
        multiples = {"flex_attention": max(1, budget // LENGTHS), PACKED: MULTIPLE}
        self.pool = PromptPool(
            budget,
            pad_token_id,
            packed=attention in TAKE_PACKED,
            multiple=multiples.get(attention, 1),
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
            while self.pool.n_tokens > self._lookahead * self.pool.max_tokens:
                self._step(bar)
        while self.pool:
            self._step(bar)
        while self.copies:
            self._store(bar)
        self.stats.seconds = time.perf_counter() - started
        self.stats.max_batch_tokens = self.pool.max_tokens
        self.stats.peak_memory_bytes = peak_memory(self.device)

    @property
    def _lookahead(self) -> int:
        """Batches' worth of prompts to wait for; a GPU without work gets what there is."""
        return LOOKAHEAD if self.copies or not self.pool.packed else 1

    def _receive(
        self, rows: np.ndarray, prompts: TokenizedPrompts, pooling: Pooling, bar: tqdm
    ) -> None:
        self.embeddings.n_genes[rows] = prompts.n_genes
        self.embeddings.n_tokens[rows] = prompts.n_tokens
        self.embeddings.truncated[rows] = prompts.truncated
        spans = pooled_spans(prompts, pooling)
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
            self.pool.multiple = min(self.pool.multiple, max(1, half))
        # The batch before is fetched while the GPU computes this one.
        while len(self.copies) > 1 or (self.copies and self.device.type != "cuda"):
            self._store(bar)

    @torch.inference_mode()
    def _embed(self, batch: Batch) -> VectorCopy:
        copy = vector_copy(batch, self.device)
        copy.begin(self._vectors(batch) if self.believed else self._checked(batch))
        return copy

    def _checked(self, batch: Batch) -> torch.Tensor:
        """Vectors of the first batch, by fused layers unless they differ from plain ones."""
        fault = None
        try:
            vectors = self._vectors(batch)
            rows, expected = self._sample(batch)
            # Of what is not finite by plain layers either, the number format is at fault.
            if expected.isfinite().all():
                fault = disagreement_of("vectors", vectors[rows], expected, self.model.dtype)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a kernel can raise
            fault = brief(error)
        self.believed = fault is None
        if fault is None:
            return vectors
        if not self.stats.fused:
            name = self.model.config._attn_implementation
            raise UserError(f"--attention {name}: {fault}; use --attention {BLOCKWISE}")
        LOGGER.warning("embedding continues without fused layers: %s", fault)
        self.stats.fused = False
        return self._checked(batch)

    def _vectors(self, batch: Batch) -> torch.Tensor:
        """float32 (n_rows, hidden_size)."""
        with fused_layers(self.model) if self.stats.fused else nullcontext():
            hidden = _forward(self.model, inputs_for(self.model, batch), self.layer)
        spans = np.stack([self.spans[row] for row in batch.rows]) + batch.starts[:, None]
        return mean_over(hidden.flatten(0, 1), spans)

    def _sample(self, batch: Batch) -> tuple[list[int], torch.Tensor]:
        """Longest, middle and shortest prompt of a batch, each alone, by plain layers."""
        rows = sorted({0, len(batch.rows) // 2, len(batch.rows) - 1})
        vectors = []
        with using(self.model, BLOCKWISE):
            for row in rows:
                ids = torch.from_numpy(batch.prompts[row][None].astype(np.int64))
                inputs = {"input_ids": on_device(ids, self.device)}
                hidden = _forward(self.model, inputs, self.layer)[0]
                vectors.append(mean_over(hidden, self.spans[batch.rows[row]][None]))
        return rows, torch.cat(vectors)

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
