"""Out of memory: half as much, down to one prompt alone."""

import pytest
import torch

from c2sflow.common.errors import UserError
from c2sflow.model.memory import MemoryWatch, halved

CPU = torch.device("cpu")


def test_only_memory_that_runs_out_is_watched():
    with MemoryWatch() as memory:
        raise torch.OutOfMemoryError
    assert memory.ran_out
    with MemoryWatch() as memory:
        pass
    assert not memory.ran_out
    with pytest.raises(RuntimeError, match="another"), MemoryWatch():
        raise RuntimeError("another")


def test_what_the_error_holds_is_free_behind_the_block():
    """Before memory is asked for again: a traceback keeps the tensors of all its frames."""
    import gc
    import weakref

    def work():
        large = torch.zeros(10)
        alive.append(weakref.ref(large))
        raise torch.OutOfMemoryError

    alive = []
    gc.disable()
    try:
        with MemoryWatch():
            work()
        assert alive[0]() is None
    finally:
        gc.enable()


def test_halves_until_one_is_alone(caplog):
    tokens, seen = 100, []
    while tokens > 1:
        tokens = halved(tokens, 7, CPU, alone=False)
        seen.append(tokens)
    assert seen == [50, 25, 12, 6, 3, 1]
    assert "out of memory: up to 1 tokens together now" in caplog.text
    with pytest.raises(UserError, match=r"a prompt of 7 tokens alone does not fit .* use --quanti"):
        halved(7, 7, CPU, alone=True)
