"""Generated answers equal transformers' own greedy generation; batch and order change nothing."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tape import Tape
from transformers import AttentionInterface

from c2sflow.common.errors import UserError
from c2sflow.generation import captured_step
from c2sflow.generation import decoding as generation
from c2sflow.generation.decode_attention import DECODE, decode_attention
from c2sflow.generation.decoding import Decoding, end_tokens, generate_tokens
from c2sflow.generation.gene_trie import GeneTrie
from c2sflow.generation.logits import next_tokens, row_numbers
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import EMBEDDING_PROMPT

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


def generate(model, prompts, eos, keys=None, max_batch_tokens="auto", max_rows=None, **options):
    decoding = Decoding(0, eos, **{"max_new_tokens": NEW, **options})
    limits = {"max_batch_tokens": max_batch_tokens, "max_rows": max_rows}
    return generate_tokens(model, prompts, decoding, keys=keys, progress=False, **limits)[0]


@pytest.mark.parametrize("captures", [{}, {"cpu": Tape}], ids=["plain", "captured"])
def test_equals_transformers_one_by_one(model, reference, prompts, eos, captures, monkeypatch):
    monkeypatch.setattr(captured_step, "CAPTURES", captures)
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
    answers = zip(prompts, generate(model, prompts, eos), strict=True)
    ids, answer = next(pair for pair in answers if pair[1].finish_reason == "eos")
    for last in eos:  # which of the two ended it is not told: one of them must fit
        whole = torch.tensor([[*ids.tolist(), *answer.token_ids, last]])
        with torch.no_grad():
            scores = reference(whole).logits[0, ids.size - 1 : -1].log_softmax(dim=-1)
        total = scores.gather(1, whole[0, ids.size :, None]).sum().item()
        if total == pytest.approx(answer.log_likelihood, rel=1e-3):
            return
    pytest.fail(f"{answer.log_likelihood} is the likelihood of neither end")


@pytest.fixture(scope="module")
def straight_answers(model, prompts, eos):
    """Answers in input order and one batch, made once for each way of drawing."""
    keys = [f"cell{n}" for n in range(len(prompts))]
    return cache(lambda how: generate(model, prompts, eos, keys=keys, **dict(how)))


@settings(max_examples=8)
@given(
    seed=st.integers(0, 1000),
    max_rows=st.integers(1, 9),
    spare=st.sampled_from([1, 64]),
    steps=st.sampled_from([1, 8]),
    how=st.sampled_from([{}, {"temperature": 0.7}, {"temperature": 1.0, "top_p": 0.8}]),
    captures=st.sampled_from([{}, {"cpu": Tape}]),
)
def test_batch_order_and_exchange_of_rows_change_nothing(
    model, prompts, eos, straight_answers, seed, max_rows, spare, steps, how, captures
):
    keys = [f"cell{n}" for n in range(len(prompts))]
    straight = straight_answers(tuple(how.items()))
    order = np.random.default_rng(seed).permutation(len(prompts))[:12]
    with pytest.MonkeyPatch.context() as patch:
        # Slots used up often, and rows looked at as seldom as on a GPU.
        patch.setattr(generation, "SPARE_SLOTS", spare)
        patch.setattr(generation, "STEPS", {"cpu": steps})
        patch.setattr(captured_step, "CAPTURES", captures)
        moved = generate(
            model, [prompts[n] for n in order], eos, keys=[keys[n] for n in order],
            max_rows=max_rows, **how,
        )  # fmt: skip
    for n, answer in zip(order, moved, strict=True):
        assert_same(answer, straight[n], model, prompts[n], keys[n], how)


def assert_same(answer, other, model, ids, key, how):
    """The answers are one, but where rounding decides."""
    if answer.token_ids == other.token_ids:
        assert answer.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-3)
    else:
        assert how.get("temperature")
        assert rounding_decided(model, ids, key, answer.token_ids, other.token_ids, **how)


def rounding_decided(model, ids, key, some, others, **how):
    """Whether a draw fell so near the bound between two tokens that float32 may say either."""
    step = next(n for n, (one, other) in enumerate(zip(some, others, strict=False)) if one != other)
    with torch.no_grad():
        logits = model(torch.tensor([[*ids.tolist(), *some[:step]]])).logits[:, -1]
    number = row_numbers(42, key, NEW)[step]
    # All that may be drawn from here to there: some tokens are hardly likelier than rounding.
    near = torch.linspace(number - 1e-5, number + 1e-5, 400, dtype=torch.float64)
    drawn = next_tokens(logits.log_softmax(dim=-1).expand(400, -1), near, **how).tolist()
    return {some[step], others[step]} <= set(drawn)


@pytest.fixture
def captured(monkeypatch):
    """Steps are captured, on tapes, as on a GPU in graphs: the tapes made."""
    tapes = []

    def capture(run):
        tapes.append(Tape(run))
        return tapes[-1]

    monkeypatch.setattr(captured_step, "CAPTURES", {"cpu": capture})
    return tapes


@pytest.mark.parametrize("how", [{}, {"temperature": 0.7}, {"genes_only": True}], ids=str)
def test_a_captured_step_emits_the_same(model, prompts, eos, how, captured, monkeypatch, caplog):
    """Once captured, rows leave and enter, and slots are moved, without another capture."""
    how = dict(how)
    if how.pop("genes_only", False):
        how["trie"] = GeneTrie([[n] for n in range(600, 900)], eos)
    keys = [f"cell{n}" for n in range(len(prompts))]
    with monkeypatch.context() as patch:
        patch.setattr(captured_step, "CAPTURES", {})
        straight = generate(model, prompts, eos, keys=keys, **how)
    monkeypatch.setattr(generation, "SPARE_SLOTS", 7)  # moved to the front now and then
    made = generate(model, prompts, eos, keys=keys, max_rows=8, **how)
    assert len(captured) == 1
    assert not caplog.records
    for n, answer in enumerate(made):
        assert_same(answer, straight[n], model, prompts[n], keys[n], how)


def wrong_attention(*inputs, **options):
    return decode_attention(*inputs, **options | {"softcap": None})


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("attention", "its logits differ by"),
        ("replay", "is not what its logits ask"),
        ("capture", "no graph here"),
        ("memory", "OutOfMemoryError"),
    ],
)
def test_a_captured_step_that_fails_or_differs_is_left(
    model, prompts, eos, fault, why, monkeypatch, caplog
):
    def capture(run):
        if fault == "capture":
            raise RuntimeError("no graph here")
        if fault == "memory":
            raise torch.OutOfMemoryError
        if fault == "replay":
            return lambda: None
        return Tape(run)

    straight = generate(model, prompts, eos)
    monkeypatch.setattr(captured_step, "CAPTURES", {"cpu": capture})
    if fault == "attention":
        AttentionInterface.register(DECODE, wrong_attention)
    try:
        made = generate(model, prompts, eos, max_rows=8)
    finally:
        AttentionInterface.register(DECODE, decode_attention)
    assert len(caplog.records) == 1
    assert why in caplog.text
    assert [answer.token_ids for answer in made] == [a.token_ids for a in straight]


def test_rows_that_are_done_make_room(model, prompts, eos):
    real = [ids for ids in prompts if ids.size]
    decoding = Decoding(0, eos, NEW)
    answers, stats = generate_tokens(model, real, decoding, max_rows=6, progress=False)
    lengths = [len(answer.token_ids) + 1 for answer in answers]
    # Six at a time to the end of the longest would be more steps than with rows exchanged.
    longest_first = sorted(range(len(real)), key=lambda n: -real[n].size)
    batches = [longest_first[n : n + 6] for n in range(0, len(real), 6)]
    assert stats.n_steps < sum(max(lengths[n] for n in batch) for batch in batches)
    assert stats.n_new_tokens == sum(len(answer.token_ids) for answer in answers)


def test_top_p_draws_from_the_likeliest(model, reference, prompts):
    ids = prompts[0]
    keys = [str(n) for n in range(300)]
    answers = generate(
        model, [ids] * 300, [-1], keys=keys, max_new_tokens=1, temperature=1.0, top_p=0.5
    )
    with torch.no_grad():
        logits = reference(torch.from_numpy(ids[None].astype(np.int64))).logits[0, -1]
    ordered, tokens = logits.softmax(dim=-1).sort(descending=True)
    nucleus = set(tokens[: int((ordered.cumsum(0) < 0.5).sum()) + 1].tolist())
    assert {answer.token_ids[0] for answer in answers} <= nucleus
    assert len(nucleus) == 1 or len({answer.token_ids[0] for answer in answers}) > 1


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
    answers = generate(model, [ids] * 600, [-1], keys=keys, max_new_tokens=1, temperature=1.0)
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


def test_a_prompt_that_does_not_fit_alone(model, prompts, eos, monkeypatch):
    def forward(*_args, **_inputs):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(type(model), "forward", forward)
    with pytest.raises(UserError, match="alone does not fit"):
        generate(model, prompts, eos)


def test_end_tokens(model):
    assert end_tokens(model, 1) == [1]
    assert end_tokens(model, 107) == [1, 107]
