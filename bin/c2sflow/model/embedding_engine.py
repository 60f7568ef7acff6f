"""Batches of prompts through a backbone, and their vectors to their places."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from c2sflow.model.architectures.registry import family_of
from c2sflow.model.attention import BLOCKWISE, PACKED, using
from c2sflow.model.batching import (
    Batch,
    PromptPool,
    free_bytes,
    on_device,
    peak_memory,
    resolve_max_batch_tokens,
)
from c2sflow.model.compile_cache import cache_in_use
from c2sflow.model.compiled_layers import (
    Compile,
    CompiledLayers,
    not_compiled_because,
    pays,
    what_is_compiled,
)
from c2sflow.model.memory import MemoryWatch, halved
from c2sflow.model.packed_inputs import BLOCK, inputs_for
from c2sflow.model.pooling import Pooling, mean_over, pooled_spans
from c2sflow.model.tokenization import TokenizedPrompts
from c2sflow.model.vector_copies import VectorCopy, vector_copy

LOGGER = logging.getLogger(__name__)

LOOKAHEAD = 4  # batches' worth of prompts that wait, so that each batch can choose
LENGTHS = 8  # lengths of a packed row, for each of which flex_attention is compiled


@dataclass
class EmbeddingStats:
    """What a run did: for the log, the report and the benchmarks."""

    n_tokens: int = 0
    n_padding: int = 0
    seconds: float = 0.0
    seconds_model: float = 0.0
    max_batch_tokens: int = 0
    peak_memory_bytes: int = 0
    compiled: bool = False  # layers, to the end

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
        self.layers: CompiledLayers | None = None
        self.pool = PromptPool(
            budget,
            pad_token_id,
            packed=attention in PACKED,
            multiple=_blocks(budget // LENGTHS) if attention == "flex_attention" else 1,
            quadratic=attention == "eager",
            max_rows=max_rows,
        )
        LOGGER.info(
            "%d cells to embed: %.1f GiB free, batches of up to %d tokens",
            len(embeddings.vectors), free_bytes(self.device) / 2**30, budget,
        )  # fmt: skip

    def compiled(self, compile: Compile, n_tokens: Callable[[], int]) -> AbstractContextManager:
        """Within it the layers run compiled, if that is asked for and possible.

        Parameters
        ----------
        n_tokens
            Tokens to be embedded, about.
        """
        if compile == "off" or not self.layer or not len(self.embeddings.vectors):
            return nullcontext()
        if reason := not_compiled_because(self.model):
            if compile == "on":
                LOGGER.warning("--compile on has no effect: %s", reason)
            return nullcontext()
        length, cache = _blocks(self.pool.max_tokens), cache_in_use()
        what = what_is_compiled(self.model, length)
        if compile == "auto" and not pays(self.model, n_tokens(), what, cache):
            return nullcontext()
        known = cache is not None and cache.holds(what)
        LOGGER.info("layers are %s", "compiled already" if known else "compiled first")
        self.pool.max_tokens = self.pool.multiple = length
        self.layers = CompiledLayers(self.model, self.layer, what, cache)
        return self.layers

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
        self.stats.compiled = self.layers is not None and self.layers.believed
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
            self.pool.multiple = min(self.pool.multiple, _blocks(half))
        # The batch before is fetched while the GPU computes this one.
        while len(self.copies) > 1 or (self.copies and self.device.type != "cuda"):
            self._store(bar)

    @torch.inference_mode()
    def _embed(self, batch: Batch) -> VectorCopy:
        copy = vector_copy(batch, self.device)
        if self.layers is None:
            copy.begin(self._vectors(batch))
        else:
            copy.begin(self.layers.run(lambda: self._vectors(batch), lambda: self._plain(batch)))
        return copy

    def _vectors(self, batch: Batch) -> torch.Tensor:
        """float32 (n_rows, hidden_size)."""
        hidden = _forward(self.model, inputs_for(self.model, batch), self.layer).flatten(0, 1)
        spans = np.stack([self.spans[row] for row in batch.rows]) + batch.starts[:, None]
        return mean_over(hidden, spans)

    def _plain(self, batch: Batch) -> tuple[list[int], torch.Tensor]:
        """Longest, middle and shortest prompt of a batch, each alone, without any compiler."""
        rows = sorted({0, len(batch.rows) // 2, len(batch.rows) - 1})
        vectors = []
        with using(self.model, BLOCKWISE), torch.compiler.set_stance("force_eager"):
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


def _blocks(n_tokens: int) -> int:
    """So many tokens in whole blocks of flex_attention's mask, one at least."""
    return max(1, n_tokens // BLOCK) * BLOCK


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
