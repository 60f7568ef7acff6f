"""Prompts that begin alike are prefilled together; keys, values and logits are as of each alone."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from c2sflow.generation import common_beginnings, packed_prefill
from c2sflow.generation.common_beginnings import alike, n_common, n_together, neighbours
from c2sflow.generation.decoding import Decoding, generate_tokens
from c2sflow.generation.kv_cache import DecodeCache
from c2sflow.generation.label_scoring import score_paths
from c2sflow.generation.packed_prefill import PackedPrefill
from c2sflow.generation.prefill import prefill


def drawn(seed, n_cells=3):
    """Prompts of a few cells in any order: several endings of each, some of them twice."""
    random = np.random.default_rng(seed)
    prompts = []
    for _ in range(n_cells):
        cell = random.integers(4, 900, random.integers(1, 90))
        for n in random.integers(0, 12, random.integers(1, 5)):
            prompts += [np.append(cell, random.integers(4, 900, n))] * random.integers(1, 3)
    return [prompts[n].astype(np.int32) for n in random.permutation(len(prompts))]


@given(seed=st.integers(0, 10_000), fewest=st.sampled_from([1, 8, 32]))
def test_groups_begin_alike_and_neighbours_are_in_them(seed, fewest):
    prompts = [*drawn(seed), np.empty(0, np.int32)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common_beginnings, "FEWEST_TOKENS", fewest)
        groups, order = alike(prompts), neighbours(prompts)
        assert sorted(n for group in groups for n in group) == list(range(len(prompts)))
        for group in groups:
            longest = max(prompts[n].size for n in group)
            shared = min(n_common(prompts[group[0]], prompts[n]) for n in group)
            assert len(group) == 1 or shared >= max(fewest, longest / 2)
        assert sorted(order) == list(range(len(prompts) - 1))
        assert prompts[order[0]].size == max(ids.size for ids in prompts)
        parts = [next(g for g, group in enumerate(groups) if n in group) for n in order]
        assert sum(a != b for a, b in itertools.pairwise(parts)) == len(set(parts)) - 1
        for limit in (1, 150, 10_000):
            assert 1 <= n_together([prompts[n] for n in order], limit) <= len(order)


def forwards(model, monkeypatch):
    """Shapes of the token ids that go through the model from now on."""
    shapes, forward = [], type(model).forward

    def counted(self, input_ids=None, **inputs):
        shapes.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **inputs)

    monkeypatch.setattr(type(model), "forward", counted)
    return shapes


def near(made, expected):
    return bool((made - expected).abs().max() <= 1e-5 * expected.abs().max())


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), fewest=st.sampled_from([1, 8, 32]))
def test_a_cache_is_as_of_each_prompt_alone(model, seed, fewest):
    """Also beyond the sliding window of 48 tokens, and in rows of a cache that is longer."""
    prompts = drawn(seed)
    cache = DecodeCache(model.config, len(prompts) + 1, 140, model.device)
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(len(prompts) + 1)[1:])
    cache.rewind(120)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(common_beginnings, "FEWEST_TOKENS", fewest)
        logits = prefill(model, cache, rows, prompts, 0)
        for n, ids in enumerate(prompts):
            own = DecodeCache(model.config, 1, ids.size, model.device)
            expected = model(
                input_ids=torch.from_numpy(ids[None].astype(np.int64)),
                past_key_values=own, use_cache=True,
            ).logits[0, -1]  # fmt: skip
            assert near(logits[n], expected)
            assert cache.starts[rows[n]] == 120 - ids.size
            for layer, alone in zip(cache.own, own.own, strict=True):
                for name in ("keys", "values"):
                    made = getattr(layer, name)[rows[n], :, 120 - ids.size : 120]
                    assert near(made, getattr(alone, name)[0])


def test_what_is_common_is_computed_once(model, monkeypatch):
    random = np.random.default_rng(0)
    cell = random.integers(4, 900, 200).astype(np.int32)
    ends = [random.integers(4, 900, n).astype(np.int32) for n in (3, 9, 5)]
    prompts = [np.append(cell, end) for end in ends for _ in range(4)]
    shapes = forwards(model, monkeypatch)
    cache = DecodeCache(model.config, 12, 300, model.device)
    with torch.inference_mode():
        prefill(model, cache, torch.arange(12), prompts, 0)
    assert shapes == [(1, 200), (3, 9)]


@pytest.mark.parametrize("how", [{}, {"temperature": 1.0}])
def test_answers_are_the_same_shared_or_not(model, how, monkeypatch):
    prompts = [np.append(ids, [7]).astype(np.int32) for ids in drawn(5, n_cells=6)]
    keys = [str(n) for n in range(len(prompts))]
    decoding = Decoding(0, [1], 12, **how)

    def made(rows):
        return [
            answer.token_ids
            for answer in generate_tokens(
                model, prompts, decoding, keys=keys, max_rows=rows, progress=False
            )[0]
        ]

    shapes = forwards(model, monkeypatch)
    shared = made(7)
    n_shared = sum(a * b for a, b in shapes)
    monkeypatch.setattr(common_beginnings, "FEWEST_TOKENS", 10**9)
    shapes.clear()
    assert made(7) == shared
    assert n_shared < sum(a * b for a, b in shapes)
    assert made(1) == shared


def test_scores_of_labels_are_the_same_shared_or_not(model, monkeypatch):
    prompts = [np.append(ids, [7]).astype(np.int32) for ids in drawn(6)]
    paths = [[5, 6], [5, 9, 8], [12]]

    def made():
        return score_paths(model, prompts, paths, [1], 0, progress=False)[0]

    shared = made()
    monkeypatch.setattr(common_beginnings, "FEWEST_TOKENS", 10**9)
    assert np.allclose(made(), shared, atol=1e-4)


@pytest.fixture
def packing(model, monkeypatch):
    """Prompts packed on a CPU, by the formulas of the kernels."""
    monkeypatch.setattr(packed_prefill, "PACKS", {"cpu"})
    return PackedPrefill(model)


@pytest.fixture(scope="module")
def various():
    """Prompts of 112 tokens, one of them beyond the sliding window."""
    random = np.random.default_rng(0)
    return [random.integers(4, 900, n).astype(np.int32) for n in (20, 71, 12, 9)]


def test_packed_prompts_are_as_each_alone(model, packing, various, monkeypatch, caplog):
    rows = torch.tensor([4, 0, 2, 3])
    shapes = forwards(model, monkeypatch)
    caches = [DecodeCache(model.config, 5, 100, model.device) for _ in range(2)]
    with torch.inference_mode():
        packed = prefill(model, caches[0], rows, various, 0, packing)
        assert shapes == [(1, 128), (2, 71)]  # and a sample, to compare
        plain = prefill(model, caches[1], rows, various, 0)
    assert packing.works, caplog.text
    assert packing.believed
    assert near(packed, plain)
    assert torch.equal(caches[0].starts[rows], caches[1].starts[rows])
    assert caches[0].length == caches[1].length == 71
    for one, other in zip(caches[0].own, caches[1].own, strict=True):
        for row, ids in zip(rows, various, strict=True):
            for name in ("keys", "values"):
                made, expected = (
                    getattr(la, name)[row, :, 71 - ids.size : 71] for la in (one, other)
                )
                assert near(made, expected)
    assert model.config._attn_implementation == "blockwise"


@pytest.mark.parametrize("fault", ["raises", "differs"])
def test_packing_that_fails_is_left_with_one_warning(
    model, packing, various, fault, monkeypatch, caplog
):
    def wrong(query, *_):
        if fault == "raises":
            raise RuntimeError("no kernel here")
        return torch.zeros_like(query.transpose(0, 1))

    monkeypatch.setattr("c2sflow.model.packed_attention.formula", wrong)
    made = []
    with torch.inference_mode():
        for packed in (packing, packing, None):
            cache = DecodeCache(model.config, 4, 100, model.device)
            made.append(prefill(model, cache, torch.arange(4), various, 0, packed))
    assert near(made[0], made[2])
    assert near(made[1], made[2])
    assert caplog.text.count("prompts are no longer packed") == 1
    assert {"raises": "no kernel here", "differs": "differ by"}[fault] in caplog.text


def test_on_a_cpu_prompts_are_not_packed(model, packing, monkeypatch):
    assert packing.works
    monkeypatch.setattr(packed_prefill, "PACKS", {"cuda"})
    assert not PackedPrefill(model).works
