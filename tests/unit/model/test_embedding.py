"""Embeddings equal transformers' eager float32 model, whatever batch, order and attention."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.model.attention import using
from c2sflow.model.embedding import embed_cells
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import EMBEDDING_PROMPT


@pytest.fixture(scope="module")
def backbone(random_model):
    return load_model(random_model, head=False, device="cpu")


@pytest.fixture(scope="module")
def tokenizer(random_model):
    return load_tokenizer(random_model)


@pytest.fixture(scope="module")
def embed(backbone, tokenizer):
    def embed(records, **options):
        return embed_cells(
            backbone, tokenizer, EMBEDDING_PROMPT, records, progress=False, **options
        )

    return embed


def expected(reference, tokenizer, record, layer, pooling):
    """One prompt at a time, no padding, all hidden states: the plain way."""
    prompts = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, [record], 512)
    ids = torch.from_numpy(prompts.input_ids[0][None].astype(np.int64))
    with torch.no_grad():
        hidden = reference(ids, output_hidden_states=True).hidden_states[layer][0]
    if pooling == "last":
        return hidden[-1].numpy()
    if pooling == "genes":
        # Which tokens spell the sentence, found by looking for it in the tokens.
        genes = tokenizer(" " + record["cell_sentence"], add_special_tokens=False)["input_ids"]
        every = ids[0].tolist()
        (start,) = [n for n in range(len(every)) if every[n : n + len(genes)] == genes]
        hidden = hidden[start : start + len(genes)]
    return hidden.mean(dim=0).numpy()


@pytest.mark.parametrize("pooling", ["mean", "last", "genes"])
@pytest.mark.parametrize("layer", [-1, 0, 2])
def test_equals_the_plain_computation(embed, reference, tokenizer, records, pooling, layer):
    made = embed(records, pooling=pooling, layer=layer)
    assert made.vectors.dtype == np.float32
    assert made.stats.n_tokens == made.n_tokens.sum()
    for vector, n_tokens, record in zip(made.vectors, made.n_tokens, records, strict=True):
        if not record["n_genes"]:
            assert n_tokens == 0
            assert np.isnan(vector).all()
            continue
        plain = expected(reference, tokenizer, record, layer, pooling)
        assert np.abs(vector - plain).max() <= 1e-4 * np.abs(plain).max()


@given(
    seed=st.integers(0, 1000),
    budget=st.integers(50, 3000),
    attention=st.sampled_from(["blockwise", "eager"]),
    max_rows=st.sampled_from([None, 1, 3]),
)
def test_batch_order_and_attention_change_nothing(
    embed, backbone, records, seed, budget, attention, max_rows
):
    straight = embed(records).vectors
    order = np.random.default_rng(seed).permutation(len(records))[:9]
    with using(backbone, attention):
        moved = embed([records[n] for n in order], max_batch_tokens=budget, max_rows=max_rows)
    scale = np.nanmax(np.abs(straight))
    np.testing.assert_allclose(moved.vectors, straight[order], atol=1e-5 * scale, equal_nan=True)


def test_out_of_memory_halves_the_budget_and_gives_the_same(embed, backbone, records, monkeypatch):
    straight = embed(records)
    forward = type(backbone).forward

    def forward_in_little_memory(self, input_ids=None, **inputs):
        if input_ids.numel() > 600:
            raise torch.OutOfMemoryError
        return forward(self, input_ids=input_ids, **inputs)

    monkeypatch.setattr(type(backbone), "forward", forward_in_little_memory)
    small = embed(records)
    np.testing.assert_allclose(small.vectors, straight.vectors, rtol=1e-4, atol=1e-5)
    assert small.stats.max_batch_tokens == 512  # 4096 halved until it fits
    assert small.stats.n_tokens == straight.stats.n_tokens


def test_a_prompt_that_does_not_fit_alone(embed, backbone, records, monkeypatch):
    def forward(*_args, **_inputs):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(type(backbone), "forward", forward)
    with pytest.raises(UserError, match="alone does not fit"):
        embed(records)


def test_values_beyond_the_range_are_told(embed, backbone, records, monkeypatch):
    forward = type(backbone).forward

    def overflow(self, **inputs):
        output = forward(self, **inputs)
        output.last_hidden_state[0, 0] = torch.inf
        return output

    monkeypatch.setattr(type(backbone), "forward", overflow)
    with pytest.raises(UserError, match="use --dtype bfloat16"):
        embed(records)


def test_real_cells_need_little_padding(demo_model, pbmc):
    from c2sflow.sentences.ranking import cell_sentences, gene_words

    cells = cell_sentences(pbmc.X, pbmc.obs_names, gene_words(pbmc.var_names))
    records = [
        {"cell_sentence": text, "n_genes": values.size, "organism": "human"}
        for text, values in cells
    ]
    model = load_model(demo_model, head=False, device="cpu")
    tokenizer = load_tokenizer(demo_model)
    stats = embed_cells(model, tokenizer, EMBEDDING_PROMPT, records, layer=0, progress=False).stats
    assert stats.padding_fraction < 0.03


def test_unknown_layer_is_refused(embed, records):
    with pytest.raises(UserError, match="layers 0 to 3"):
        embed(records, layer=4)


def test_no_cells(embed):
    assert embed([]).vectors.shape == (0, 64)
