"""Embeddings equal transformers' eager float32 model, whatever batch and order."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.embedding import embed_tokens
from c2sflow.errors import UserError
from c2sflow.models import load_model, load_tokenizer
from c2sflow.prompts import EMBEDDING_PROMPT
from c2sflow.tokenization import tokenize_prompts


@pytest.fixture(scope="module")
def backbone(random_model):
    return load_model(random_model, head=False, device="cpu")


@pytest.fixture(scope="module")
def prompts(random_model, records):
    tokenizer = load_tokenizer(random_model)
    return tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, 512)


def expected(reference, input_ids, layer, pooling):
    """One prompt at a time, no padding, all hidden states: the plain way."""
    with torch.no_grad():
        ids = torch.from_numpy(input_ids[None].astype(np.int64))
        output = reference(ids, output_hidden_states=True)
    hidden = output.hidden_states[layer][0]
    return (hidden.mean(dim=0) if pooling == "mean" else hidden[-1]).numpy()


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("layer", [-1, 0, 2])
def test_equals_the_plain_computation(backbone, reference, prompts, pooling, layer):
    vectors, stats = embed_tokens(
        backbone, prompts.input_ids, 0, pooling=pooling, layer=layer, progress=False
    )
    assert vectors.dtype == np.float32
    assert stats.n_tokens == prompts.n_tokens.sum()
    for vector, ids in zip(vectors, prompts.input_ids, strict=True):
        if not ids.size:
            assert np.isnan(vector).all()
            continue
        plain = expected(reference, ids, layer, pooling)
        assert np.abs(vector - plain).max() <= 1e-4 * np.abs(plain).max()


def test_the_soft_cap_matters_here(reference, backbone, prompts):
    # The model is built so that a wrong attention would be seen by the test above.
    ids = prompts.input_ids[0]
    plain = expected(reference, ids, -1, "mean")
    cap = [layer.self_attn.attn_logit_softcapping for layer in backbone.layers]
    try:
        for layer in backbone.layers:
            layer.self_attn.attn_logit_softcapping = None
        without, _ = embed_tokens(backbone, [ids], 0, progress=False)
    finally:
        for layer, value in zip(backbone.layers, cap, strict=True):
            layer.self_attn.attn_logit_softcapping = value
    assert np.abs(without[0] - plain).max() > 1e-2 * np.abs(plain).max()


@given(seed=st.integers(0, 1000), budget=st.integers(50, 3000))
def test_batch_and_order_change_nothing(backbone, prompts, seed, budget):
    straight, _ = embed_tokens(backbone, prompts.input_ids, 0, progress=False)
    order = np.random.default_rng(seed).permutation(len(prompts.input_ids))[:9]
    moved, _ = embed_tokens(
        backbone, [prompts.input_ids[n] for n in order], 0, max_batch_tokens=budget, progress=False
    )
    scale = np.nanmax(np.abs(straight))
    np.testing.assert_allclose(moved, straight[order], atol=1e-5 * scale, equal_nan=True)


def test_out_of_memory_gives_the_same(backbone, prompts, monkeypatch):
    straight, _ = embed_tokens(backbone, prompts.input_ids, 0, progress=False)
    forward = type(backbone).forward

    def forward_in_little_memory(self, input_ids=None, **inputs):
        if input_ids.numel() > 600:
            raise torch.OutOfMemoryError
        return forward(self, input_ids=input_ids, **inputs)

    monkeypatch.setattr(type(backbone), "forward", forward_in_little_memory)
    small, _ = embed_tokens(backbone, prompts.input_ids, 0, progress=False)
    np.testing.assert_allclose(small, straight, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_sorting_leaves_little_padding(backbone, prompts):
    _, stats = embed_tokens(backbone, prompts.input_ids, 0, max_batch_tokens=600, progress=False)
    assert stats.n_padding < 0.1 * stats.n_tokens


def test_unknown_layer_is_refused(backbone, prompts):
    with pytest.raises(UserError, match="layers 0 to 3"):
        embed_tokens(backbone, prompts.input_ids, 0, layer=4, progress=False)


def test_long_prompts_are_cut_between_genes(random_model, records):
    tokenizer = load_tokenizer(random_model)
    whole = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, 512)
    context = int(np.median(whole.n_tokens))
    cut = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, context)
    assert (cut.n_tokens <= context).all()
    assert list(cut.truncated) == list(whole.n_tokens > context)
    for record, ids, n_genes in zip(records, cut.input_ids, cut.n_genes, strict=True):
        if record["n_genes"] == 0:
            continue
        genes = " ".join(record["cell_sentence"].split()[:n_genes])
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert f"list of {n_genes} gene names" in text
        assert f"sentence: {genes}." in text
    with pytest.raises(UserError, match="shorten the prompt"):
        tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, 10)
