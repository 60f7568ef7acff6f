"""The head of the valid tokens: the answers of the whole head, and a likelihood among the valid."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from c2sflow.generation.decoding import Decoding, generate_tokens
from c2sflow.generation.gene_trie import GeneTrie
from c2sflow.generation.valid_head import valid_head

VOCAB, EOS, NEW = 300, [1, 3], 12
# Some genes are the beginning of others.
PATHS = [[n] for n in range(20, 60)]
PATHS += [[n, m] for n in range(40, 80) for m in range(200, 205)]
PATHS += [[n, 202, 299] for n in range(60, 80, 3)]
HOW = [{}, {"temperature": 1.0}, {"temperature": 0.8, "top_p": 0.7}]


@cache
def random_model(family: str, seed: int):
    """A small one with random weights; its logits vary enough that tokens do not tie."""
    torch.manual_seed(seed)
    if family == "gpt2":
        config = GPT2Config(vocab_size=VOCAB, n_positions=128, n_embd=32, n_layer=2, n_head=2)
        return GPT2LMHeadModel(config).eval()
    config = Gemma2Config(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8,
        sliding_window=16, max_position_embeddings=128, final_logit_softcapping=5.0,
        attn_implementation="eager",
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(20)
    return model


def prompts(seed):
    random = np.random.default_rng(seed)
    return [random.integers(4, VOCAB, n).astype(np.int32) for n in random.integers(2, 30, 6)]


def answers(model, seed, likelihood, paths=PATHS, **how):
    decoding = Decoding(0, EOS, NEW, trie=GeneTrie(paths, EOS), likelihood=likelihood, **how)
    keys = [str(n) for n in range(6)]
    return generate_tokens(model, prompts(seed), decoding, keys=keys, progress=False)[0]


@settings(max_examples=12)
@given(
    family=st.sampled_from(["gemma2", "gpt2"]),
    seed=st.integers(0, 3),
    chosen=st.integers(0, 10_000),
    how=st.sampled_from(HOW),
)
def test_the_answers_are_those_of_the_whole_head(family, seed, chosen, how):
    model = random_model(family, seed)
    some = np.random.default_rng(chosen).permutation(len(PATHS))[:40]
    paths = [PATHS[n] for n in sorted(some)]
    made = answers(model, chosen, "valid", paths, **how)
    whole = answers(model, chosen, "full", paths, **how)
    assert any(answer.token_ids for answer in made)
    for one, other in zip(made, whole, strict=True):
        assert (one.token_ids, one.finish_reason) == (other.token_ids, other.finish_reason)
        assert one.log_likelihood > other.log_likelihood


def followers(said):
    """What may follow these tokens, by their definition: trying all genes."""
    done, under_way = [], []
    for token in said:
        if under_way and [*under_way, token] not in [p[: len(under_way) + 1] for p in PATHS]:
            done.append(under_way)
            under_way = []
        under_way = [*under_way, token]
    left = [path for path in PATHS if path not in done]
    longer = [path for path in left if path[: len(under_way)] == under_way and path != under_way]
    allowed = {path[len(under_way)] for path in longer}
    if under_way in left:
        allowed |= {path[0] for path in left if path != under_way} | set(EOS)
    return sorted(allowed)


@pytest.mark.parametrize("likelihood", ["valid", "full"])
def test_the_likelihood_is_among_what_its_name_says(likelihood):
    model = random_model("gemma2", 0)
    compared = 0
    for ids, answer in zip(prompts(0), answers(model, 0, likelihood), strict=True):
        said = answer.token_ids
        with torch.no_grad():
            logits = model(torch.tensor([[*ids.tolist(), *said]])).logits[0, ids.size - 1 :]
        for n, token in enumerate(said):
            among = followers(said[:n]) if likelihood == "valid" else range(VOCAB)
            scores = logits[n, list(among)].log_softmax(dim=0)
            expected = float(scores[list(among).index(token)])
            assert answer.log_likelihoods[n] == pytest.approx(expected, abs=1e-4)
            compared += 1
    assert compared > 20


def test_logits_are_the_columns_of_the_whole_heads():
    model, tokens = random_model("gemma2", 1), torch.tensor([1, 5, 77, 299])
    ids = torch.from_numpy(prompts(1)[0][None].astype(np.int64))
    head = model.get_output_embeddings()
    with torch.no_grad():
        whole = model(ids).logits
        assert whole.abs().max() > 4.5  # the soft-cap of 5 matters
        with valid_head(model, tokens):
            assert torch.allclose(model(ids).logits, whole[..., tokens], atol=1e-5)
            assert model.get_output_embeddings() is not head
    assert model.get_output_embeddings() is head


def test_a_head_that_is_no_plain_matrix_is_computed_whole(monkeypatch):
    """Of a quantised one, or one with an adapter, rows cannot be taken."""

    class Quantised(torch.nn.Linear):
        pass

    model, tokens = random_model("gemma2", 2), torch.tensor([1, 5, 77, 299])
    head = model.get_output_embeddings()
    other = Quantised(head.in_features, head.out_features, bias=False)
    other.weight = head.weight
    monkeypatch.setattr(model, "lm_head", other)
    ids = torch.from_numpy(prompts(2)[0][None].astype(np.int64))
    with torch.no_grad(), valid_head(model, tokens):
        narrow = model(ids).logits
    with torch.no_grad():
        assert torch.equal(narrow, model(ids).logits[..., tokens])


def test_the_head_is_whole_again_after_an_error():
    model = random_model("gemma2", 3)
    head = model.get_output_embeddings()
    with pytest.raises(RuntimeError), valid_head(model, torch.tensor([1])):
        raise RuntimeError
    assert model.get_output_embeddings() is head
