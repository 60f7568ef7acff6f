"""Embeddings of cell sentences: one pass of the backbone, batched to a budget of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.common.progress import progress_bar
from c2sflow.model.embedding_engine import Embeddings, Engine
from c2sflow.model.pooling import Pooling
from c2sflow.model.tokenization import tokenize_ahead


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
    engine = Engine(
        model, tokenizer.pad_token_id, check_layer(model, layer), max_batch_tokens, max_rows,
        embeddings,
    )  # fmt: skip
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
