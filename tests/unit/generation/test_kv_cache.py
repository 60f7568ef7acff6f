"""Each row of the cache sees its own tokens, in order, however rows are exchanged and moved."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedConfig

from c2sflow.generation.kv_cache import DecodeCache

CPU = torch.device("cpu")
N_ROWS, N_SLOTS, LONGEST, MOST_NEW = 3, 14, 6, 4
CONFIG = PreTrainedConfig(num_hidden_layers=1)


def states_of(tokens):
    """Keys, or values, that are the tokens themselves: (n_rows, 1, n_tokens, 1)."""
    return torch.tensor(tokens, dtype=torch.float32)[:, None, :, None]


def taken_in(cache, row, tokens):
    """Put a prompt, padded on the left by zeros, into a row."""
    padded = [0] * (LONGEST - len(tokens)) + tokens
    fresh = DecodeCache(CONFIG, 1, LONGEST, CPU)
    fresh.update(states_of([padded]), states_of([padded]), 0)
    fresh.starts[:] = LONGEST - len(tokens)
    cache.take_in(torch.tensor([row]), fresh, torch.tensor([0]))


@given(
    events=st.lists(
        st.tuples(st.integers(0, N_ROWS - 1), st.integers(1, LONGEST), st.integers(1, MOST_NEW)),
        min_size=1, max_size=12,
    ),
    static=st.booleans(),
)  # fmt: skip
def test_rows_see_their_own_tokens(events, static):
    cache = DecodeCache(CONFIG, N_ROWS, N_SLOTS, CPU)
    cache.clear(LONGEST)
    rows = {}
    token = 0
    for row, n_prompt, n_new in events:
        if row in rows:
            cache.release(torch.tensor([row]))
            assert cache.seen(cache.length)[row].sum() == 0
            del rows[row]
        rows[row] = list(range(token + 1, token + 1 + n_prompt))
        token += n_prompt
        taken_in(cache, row, rows[row])
        for _ in range(n_new):
            # No row has more than this; those that are longer are done.
            rows = {row: tokens for row, tokens in rows.items() if len(tokens) < LONGEST + MOST_NEW}
            cache.make_room(LONGEST + MOST_NEW)
            written = [[token + 1 + row] for row in range(N_ROWS)]
            token += N_ROWS
            end = cache.length + 1
            if static:
                cache.newest.fill_(cache.length)
                with cache.static():
                    keys, values = cache.update(states_of(written), -states_of(written), 0)
                cache.grow()
            else:
                keys, values = cache.update(states_of(written), -states_of(written), 0)
            assert cache.length == end
            assert keys.shape[2] == (N_SLOTS if static else end)
            for row, tokens in rows.items():
                tokens += written[row]
                seen = cache.seen(end)[row]
                assert keys[row, 0, :end, 0][seen].tolist() == tokens
                # Those of prompts are their own; what steps have written is negative.
                assert values[row, 0, :end, 0][seen].abs().tolist() == tokens
