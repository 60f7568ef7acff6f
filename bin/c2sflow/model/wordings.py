"""Embeddings over several wordings of the prompt: their mean, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.model.embedding import embed_cells
from c2sflow.model.embedding_engine import Embeddings, EmbeddingStats


def embed_wordings(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    templates: Sequence[str],
    records: Sequence[Mapping[str, object]],
    **options: Any,
) -> Embeddings:
    """`embed_cells` under each template, one after the other; memory holds two sets of vectors.

    Parameters
    ----------
    templates
        One or more embedding prompts.
    options
        See `c2sflow.model.embedding.embed_cells`.

    Returns
    -------
    Of one template its embeddings. Of more the mean of each cell's vectors, and `spread`: 1 minus
    the mean cosine of each two of them, so 0 where the wording makes no difference. n_genes is the
    least of all wordings, n_tokens the most; stats add up.
    """
    first, *others = templates
    found = embed_cells(model, tokenizer, first, records, **options)
    if not others:
        return found
    total, directions = found.vectors.astype(np.float64), _directions(found.vectors)
    for template in others:
        next_found = embed_cells(model, tokenizer, template, records, **options)
        total += next_found.vectors
        directions += _directions(next_found.vectors)
        found = replace(
            found,
            n_genes=np.minimum(found.n_genes, next_found.n_genes),
            n_tokens=np.maximum(found.n_tokens, next_found.n_tokens),
            truncated=found.truncated | next_found.truncated,
            stats=_added(found.stats, next_found.stats),
        )
    n = len(templates)
    # The square of a sum of unit vectors is n, and the cosine of each two of them twice.
    cosine = ((directions**2).sum(axis=1) - n) / (n * (n - 1))
    spread = np.clip(1 - cosine, 0, 2).astype(np.float32)
    return replace(found, vectors=(total / n).astype(np.float32), spread=spread)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """float64 (n_cells, hidden_size): vectors of length 1."""
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def _added(one: EmbeddingStats, other: EmbeddingStats) -> EmbeddingStats:
    return EmbeddingStats(
        n_tokens=one.n_tokens + other.n_tokens,
        n_padding=one.n_padding + other.n_padding,
        seconds=one.seconds + other.seconds,
        seconds_model=one.seconds_model + other.seconds_model,
        max_batch_tokens=min(one.max_batch_tokens, other.max_batch_tokens),
        peak_memory_bytes=max(one.peak_memory_bytes, other.peak_memory_bytes),
        fused=one.fused and other.fused,
    )
