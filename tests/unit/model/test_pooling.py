"""Pooling in one go is the mean of each span, and nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.model.pooling import CHUNK, mean_over


@given(
    seed=st.integers(0, 1000),
    lengths=st.lists(st.sampled_from([1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 700]), min_size=1),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_mean_of_each_span(seed, lengths, dtype):
    random = np.random.default_rng(seed)
    begin = np.cumsum(np.array(lengths) + random.integers(0, 5, len(lengths))) - lengths
    spans = random.permutation(np.stack([begin, begin + lengths], axis=1))
    hidden = torch.from_numpy(random.normal(3, 40, (spans.max(), 9))).to(dtype)
    expected = np.stack([hidden[a:b].double().mean(dim=0).numpy() for a, b in spans.tolist()])
    made = mean_over(hidden, spans)
    assert made.dtype == torch.float32
    assert np.abs(made.numpy() - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_a_span_that_overflows_leaves_the_others_right(bad):
    hidden = torch.ones(300, 4)
    hidden[100] = bad
    made = mean_over(hidden, np.array([[0, 100], [100, 101], [101, 300], [50, 200]]))
    assert made.isfinite().all(dim=1).tolist() == [True, False, True, False]
    assert (made[[0, 2]] == 1).all()
