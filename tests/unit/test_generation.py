"""Generated answers equal transformers' own greedy generation; batch and order change nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from c2sflow.generation import end_tokens, generate_tokens
from c2sflow.models import load_model, load_tokenizer
from c2sflow.prompts import EMBEDDING_PROMPT
from c2sflow.tokenization import tokenize_prompts

NEW = 40


@pytest.fixture(scope="module")
def model(random_model):
    return load_model(random_model, head=True, device="cpu")


@pytest.fixture(scope="module")
def prompts(random_model, records):
    tokenizer = load_tokenizer(random_model)
    return tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, 512).input_ids


@pytest.fixture(scope="module")
def eos(model, prompts):
    """Two tokens that the model says, first at many different places: answers' ends differ."""
    answers = generate(model, prompts, [-1])
    firsts = {}
    for answer in answers:
        for token in set(answer.token_ids):
            firsts.setdefault(token, set()).add(answer.token_ids.index(token))
    return sorted(firsts, key=lambda token: len(firsts[token]))[-2:]


def generate(model, prompts, eos, **options):
    return generate_tokens(model, prompts, 0, eos, max_new_tokens=NEW, progress=False, **options)[0]


def test_equals_transformers_one_by_one(model, reference, prompts, eos):
    answers = generate(model, prompts, eos)
    assert {answer.finish_reason for answer in answers} == {"eos", "length"}
    assert len({len(answer.token_ids) for answer in answers}) > 3
    for ids, answer in zip(prompts, answers, strict=True):
        if not ids.size:
            assert answer.token_ids == []
            continue
        whole = reference.generate(
            torch.from_numpy(ids[None].astype(np.int64)),
            max_new_tokens=NEW, do_sample=False, eos_token_id=eos, pad_token_id=0,
        )[0, ids.size :].tolist()  # fmt: skip
        ended = whole[-1] in eos
        assert answer.token_ids == (whole[:-1] if ended else whole)
        assert answer.finish_reason == ("eos" if ended else "length")


def test_log_likelihood_is_that_of_a_forward_pass(model, reference, prompts, eos):
    ids, answer = prompts[0], generate(model, prompts[:1], eos)[0]
    assert answer.finish_reason == "eos"
    for last in eos:  # which of the two ended it is not told: one of them must fit
        whole = torch.tensor([[*ids.tolist(), *answer.token_ids, last]])
        with torch.no_grad():
            scores = reference(whole).logits[0, ids.size - 1 : -1].log_softmax(dim=-1)
        total = scores.gather(1, whole[0, ids.size :, None]).sum().item()
        if total == pytest.approx(answer.log_likelihood, rel=1e-3):
            return
    pytest.fail(f"{answer.log_likelihood} is the likelihood of neither end")


@settings(max_examples=8)
@given(
    seed=st.integers(0, 1000),
    budget=st.integers(100, 4000),
    temperature=st.sampled_from([0.0, 0.7]),
)
def test_batch_and_order_change_nothing(model, prompts, eos, seed, budget, temperature):
    keys = [f"cell{n}" for n in range(len(prompts))]
    straight = generate(model, prompts, eos, keys=keys, temperature=temperature)
    order = np.random.default_rng(seed).permutation(len(prompts))[:8]
    moved = generate(
        model, [prompts[n] for n in order], eos, keys=[keys[n] for n in order],
        temperature=temperature, max_batch_tokens=budget,
    )  # fmt: skip
    assert [answer.token_ids for answer in moved] == [straight[n].token_ids for n in order]


def test_samples_differ_by_seed_and_key(model, prompts):
    same = [prompts[0]] * 4
    keys = ["a", "a", "b", "c"]
    first = [a.token_ids for a in generate(model, same, [-1], keys=keys, temperature=1.0)]
    assert first[0] == first[1]
    assert len({tuple(tokens) for tokens in first}) == 3
    second = [a.token_ids for a in generate(model, same, [-1], keys=keys, temperature=1.0, seed=7)]
    assert first[0] != second[0]


def test_samples_follow_the_models_probabilities(model, reference, prompts):
    ids = prompts[0]
    keys = [str(n) for n in range(600)]
    answers = generate_tokens(
        model,
        [ids] * 600,
        0,
        [-1],
        max_new_tokens=1,
        max_batch_tokens=20000,
        temperature=1.0,
        keys=keys,
        progress=False,
    )[0]
    with torch.no_grad():
        logits = reference(torch.from_numpy(ids[None].astype(np.int64))).logits[0, -1]
    probabilities = logits.softmax(dim=-1).numpy()
    drawn = np.bincount([a.token_ids[0] for a in answers], minlength=probabilities.size) / 600
    likely = probabilities > 0.01
    assert likely.any()
    error = np.sqrt(probabilities * (1 - probabilities) / 600)
    assert (np.abs(drawn - probabilities)[likely] < 5 * error[likely]).all()


def test_out_of_memory_gives_the_same(model, prompts, eos, monkeypatch):
    straight = generate(model, prompts, eos)
    forward = type(model).forward

    def forward_in_little_memory(self, input_ids=None, **inputs):
        if input_ids.shape[0] > 3:
            raise torch.OutOfMemoryError
        return forward(self, input_ids=input_ids, **inputs)

    monkeypatch.setattr(type(model), "forward", forward_in_little_memory)
    small = generate(model, prompts, eos)
    assert [a.token_ids for a in small] == [a.token_ids for a in straight]


def test_end_tokens(model):
    assert end_tokens(model, 1) == [1]
    assert end_tokens(model, 107) == [1, 107]
