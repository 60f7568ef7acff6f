"""Embeddings over all wordings of the prompt: the mean of each one's, and their spread."""

import numpy as np
import pytest

from c2sflow.model.embedding import embed_cells
from c2sflow.model.embedding_engine import EmbeddingStats
from c2sflow.model.wordings import _added, embed_wordings
from c2sflow.sentences.prompts import EMBEDDING_PROMPT
from c2sflow.sentences.variants import variants_of

TEMPLATES = variants_of(EMBEDDING_PROMPT, "embedding_prompt", "all")[:4]


@pytest.fixture(scope="module")
def each(model, tokenizer, records):
    backbone = model.get_decoder()
    return [
        embed_cells(backbone, tokenizer, text, records[:9], progress=False) for text in TEMPLATES
    ]


@pytest.fixture(scope="module")
def together(model, tokenizer, records):
    return embed_wordings(model.get_decoder(), tokenizer, TEMPLATES, records[:9], progress=False)


def test_vectors_are_the_mean_of_those_of_each_wording(each, together):
    mean = np.mean([found.vectors for found in each], axis=0)
    np.testing.assert_allclose(together.vectors, mean, atol=1e-5)
    empty = np.array([not n for n in each[0].n_genes])
    assert empty.any()
    np.testing.assert_array_equal(np.isnan(together.vectors).all(axis=1), empty)
    assert together.stats.n_tokens == sum(found.stats.n_tokens for found in each)
    np.testing.assert_array_equal(
        together.n_tokens, np.max([found.n_tokens for found in each], axis=0)
    )


def test_spread_is_one_minus_the_mean_cosine_of_each_two(each, together):
    for cell in range(9):
        vectors = np.array([found.vectors[cell] for found in each], dtype=float)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = (vectors @ vectors.T)[np.triu_indices(len(TEMPLATES), 1)]
        np.testing.assert_allclose(together.spread[cell], 1 - cosines.mean(), atol=1e-6)
    assert np.nanmin(together.spread) > 0


def test_one_wording_is_embedded_as_without_variants(model, tokenizer, records, each):
    one = embed_wordings(model.get_decoder(), tokenizer, TEMPLATES[:1], records[:9], progress=False)
    np.testing.assert_array_equal(one.vectors, each[0].vectors)
    assert one.spread is None
    two = embed_wordings(
        model.get_decoder(), tokenizer, TEMPLATES[:1] * 2, records[:9], progress=False
    )
    assert np.nanmax(two.spread) < 1e-6


def test_wordings_are_fused_where_each_was():
    fused, plain = EmbeddingStats(fused=True), EmbeddingStats()
    assert _added(fused, fused).fused
    assert not _added(fused, plain).fused
