"""How many threads the products of matrices use."""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits


def one_blas_thread() -> AbstractContextManager:
    """A context in which BLAS works in one thread.

    For many small products, as classifiers make: its other threads would wait for work by
    spinning, and take four times the CPU time for the same results.
    """
    return threadpool_limits(limits=1, user_api="blas")
