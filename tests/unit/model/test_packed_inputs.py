"""The mask of packed prompts, counted from their bounds, is transformers'."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from c2sflow.model.attention import using
from c2sflow.model.batching import PromptPool
from c2sflow.model.loading import load_model
from c2sflow.model.packed_inputs import BLOCK, block_mask, first_seen, inputs_for

CPU = torch.device("cpu")


def packed(lengths):
    pool = PromptPool(10_000, packed=True, multiple=BLOCK)
    for row, length in enumerate(lengths):
        pool.add(row, np.full(length, 7, dtype=np.int32))
    return pool.take()


def blockwise(mask):
    """What a kernel sees by the blocks: whole ones, and those of which it asks each pair."""
    n = mask.kv_indices.shape[-1]
    seen = np.zeros((n * BLOCK, n * BLOCK), dtype=bool)
    rows = torch.arange(n * BLOCK)
    pairs = mask.mask_mod(0, 0, rows[:, None], rows[None]).numpy()
    parts = (
        (mask.kv_num_blocks, mask.kv_indices, pairs),
        (mask.full_kv_num_blocks, mask.full_kv_indices, np.ones_like(pairs)),
    )
    for counts, indices, values in parts:
        for row in range(n):
            for column in indices[0, 0, row, : counts[0, 0, row]].tolist():
                here = np.s_[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK]
                assert not seen[here].any()
                seen[here] = values[here]
    return seen


@given(
    lengths=st.lists(st.sampled_from([1, 40, 127, 128, 129, 300, 700]), min_size=1, max_size=6),
    window=st.sampled_from([None, 1, 48, 128, 200]),
)
def test_as_transformers_masks(demo_model, lengths, window):
    batch = packed(lengths)
    config = AutoConfig.from_pretrained(demo_model, attn_implementation="eager")
    config.sliding_window = window
    make = create_sliding_window_causal_mask if window else create_causal_mask
    positions = batch.inputs["position_ids"]
    expected = make(
        config=config,
        inputs_embeds=torch.zeros(1, positions.shape[1], 1),
        attention_mask=None,
        past_key_values=None,
        position_ids=positions,
    )
    first = first_seen(batch.inputs["cu_seq_lens_q"].numpy(), window)
    np.testing.assert_array_equal(blockwise(block_mask(first, CPU)), expected[0, 0].numpy() == 0)


def test_a_row_of_no_whole_blocks_is_refused():
    with pytest.raises(ValueError, match="200 tokens are no multiple of 128"):
        block_mask(np.zeros(200, dtype=np.int32), CPU)


def test_each_kind_of_layer_has_its_mask(random_model):
    model = load_model(random_model, head=False, device="cpu")
    batch = packed([90, 60])
    assert "attention_mask" not in inputs_for(model, batch)
    with using(model, "flex_attention"):
        inputs = inputs_for(model, batch)
    assert set(inputs) == {"input_ids", "position_ids", "attention_mask"}
    seen = {kind: blockwise(mask).sum() for kind, mask in inputs["attention_mask"].items()}
    n, window = np.array([90, 60, 106]), model.config.sliding_window
    assert seen["full_attention"] == (n * (n + 1) // 2).sum()
    assert seen["sliding_attention"] == (n * window - window * (window - 1) // 2).sum()
