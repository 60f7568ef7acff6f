"""Memory that C's heap keeps though nothing uses it."""

from __future__ import annotations

import ctypes


def trim_heap() -> None:
    """Give the heap's free pages back to the system.

    Tasks tell glibc to keep what is freed (``MALLOC_TRIM_THRESHOLD_`` in ``modules/code.nf``),
    since asking for it anew with each array costs more than the arrays' own work; now and then it
    costs nothing. Other C libraries than glibc have no such function: then nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
