"""Batches hold every prompt once, within the budget; out of memory loses nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.batching import pad_left, resolve_max_batch_tokens, run_batches, token_batches

LENGTHS = st.lists(st.integers(0, 500), max_size=200)


@given(lengths=LENGTHS, budget=st.integers(1, 5000), extra=st.integers(0, 300))
def test_batches_partition_and_keep_the_budget(lengths, budget, extra):
    batches = token_batches(lengths, budget, extra)
    rows = np.concatenate(batches) if batches else np.array([], int)
    assert sorted(rows) == [n for n, length in enumerate(lengths) if length]
    for batch in batches:
        longest = max(lengths[row] for row in batch) + extra
        assert batch.size == 1 or batch.size * longest <= budget
    tops = [max(lengths[row] for row in batch) for batch in batches]
    assert tops == sorted(tops, reverse=True)


def test_attention_that_keeps_its_matrix_is_capped_by_the_square():
    batches = token_batches([1000] * 8, max_tokens=8000, max_square=2_000_000)
    assert [batch.size for batch in batches] == [2, 2, 2, 2]


@given(lengths=LENGTHS, limit=st.integers(500, 3000))
def test_out_of_memory_halves_and_loses_nothing(lengths, limit):
    done, failed = [], []

    def run(batch):
        if sum(lengths[row] for row in batch) > limit:
            failed.append(batch)
            raise torch.OutOfMemoryError
        done.extend(batch)

    told = []
    run_batches(token_batches(lengths, 5000), run, told.append)
    assert sorted(done) == [n for n, length in enumerate(lengths) if length]
    assert sum(told) == len(done)


def test_one_row_that_does_not_fit_is_an_error():
    def run(_batch):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        run_batches(token_batches([5, 6], 100), run, lambda _n: None)


def test_padding_is_on_the_left():
    rows = [np.array([7, 8, 9], np.int32), np.array([5], np.int32)]
    ids, mask = pad_left(rows, 0, torch.device("cpu"))
    assert ids.tolist() == [[7, 8, 9], [0, 0, 5]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_budget_as_given():
    assert resolve_max_batch_tokens("1234", torch.nn.Linear(1, 1)) == 1234
    assert resolve_max_batch_tokens("auto", torch.nn.Linear(1, 1)) > 0
