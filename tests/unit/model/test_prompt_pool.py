"""Batches: every prompt once, within the budget, in either layout."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.model.batching import QUADRATIC, PromptPool

LENGTHS = st.lists(st.integers(0, 90), max_size=40)


def fill(pool, lengths):
    prompts = [np.full(n, 100 + row, dtype=np.int32) for row, n in enumerate(lengths)]
    for row, ids in enumerate(prompts):
        pool.add(row, ids)
    return prompts


@given(
    lengths=LENGTHS,
    budget=st.integers(1, 200),
    packed=st.booleans(),
    max_rows=st.sampled_from([None, 1, 4]),
    multiple=st.sampled_from([1, 16]),
)
def test_every_prompt_once_within_the_budget(lengths, budget, packed, max_rows, multiple):
    pool = PromptPool(budget, packed=packed, max_rows=max_rows, multiple=multiple)
    prompts = fill(pool, lengths)
    seen = []
    while pool:
        batch = pool.take()
        flat = batch.inputs["input_ids"].flatten().numpy()
        for row, start in zip(batch.rows, batch.starts, strict=True):
            np.testing.assert_array_equal(flat[start : start + lengths[row]], prompts[row])
        seen += batch.rows
        assert batch.n_tokens == sum(lengths[row] for row in batch.rows)
        assert len(batch.rows) <= (max_rows or len(lengths))
        if len(batch.rows) > 1:
            assert batch.n_slots - (-batch.n_tokens % multiple if packed else 0) <= budget
        if not packed:  # like lengths go together: nothing longer waits
            assert max(lengths[row] for row in batch.rows) >= max(
                (lengths[row] for row in range(len(lengths)) if row not in seen), default=0
            )
    assert sorted(seen) == [row for row, n in enumerate(lengths) if n]
    assert pool.n_tokens == 0


@given(lengths=LENGTHS.filter(any), multiple=st.sampled_from([1, 7]))
def test_a_packed_row_restarts_its_positions(lengths, multiple):
    pool = PromptPool(10_000, packed=True, multiple=multiple)
    fill(pool, lengths)
    batch = pool.take()
    positions = batch.inputs["position_ids"][0].numpy()
    ends = batch.inputs["cu_seq_lens_q"].numpy()
    assert ends[-1] == positions.size == batch.n_slots
    assert batch.n_slots % multiple == 0
    for start, end in pairwise(ends):
        np.testing.assert_array_equal(positions[start:end], np.arange(end - start))
    assert batch.inputs["max_length_q"] == np.diff(ends).max()


def test_packing_fills_the_budget():
    lengths = np.random.default_rng(0).integers(100, 1000, 200)
    pool = PromptPool(8192, packed=True)
    fill(pool, lengths)
    filled = [pool.take().n_tokens for _ in range(8)]
    assert min(filled) > 0.99 * 8192


def test_a_batch_put_back_is_taken_in_halves():
    pool = PromptPool(100)
    fill(pool, [20] * 10)
    first = pool.take()
    assert len(first.rows) == 5
    pool.put_back(first, 50)
    assert [len(pool.take().rows) for _ in range(5)] == [2] * 5
    assert not pool


@pytest.mark.parametrize(("quadratic", "rows"), [(False, 4), (True, 2)])
def test_whole_matrices_take_fewer_rows(quadratic, rows):
    length = QUADRATIC * 2
    pool = PromptPool(4 * length, quadratic=quadratic)
    fill(pool, [length] * 8)
    assert len(pool.take().rows) == rows
