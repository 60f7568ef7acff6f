"""How many threads and processes a step uses, in its own loops, in BLAS and in numba."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


# Turns that a thread of torch's OpenMP waits for the others before it sleeps. It would wait much
# longer: beside another process on the same cores, embedding took 5 to 14 times as long
# (docs/performance.md). The workflow's tasks have it from conf/base.config.
SPIN_COUNT = "3000"


def let_threads_sleep() -> None:
    """Set ``GOMP_SPINCOUNT`` for this process, unless it is set, or torch is loaded already."""
    if "torch" not in sys.modules:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


def n_cores() -> int:
    """Cores of this task: OMP_NUM_THREADS, or those of the machine."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def in_threads(
    work: Callable[[Item], Made], items: Iterable[Item], n_threads: int | None = None
) -> Iterator[Made]:
    """``map(work, items)``, `n_threads` results ahead of the one in use.

    Parameters
    ----------
    work
        Called in another thread.
    items
        What it is called with.
    n_threads
        None for all cores. On a single core nothing runs ahead.
    """
    if n_cores() == 1:
        yield from map(work, items)
        return
    n_threads = n_threads or n_cores()
    with ThreadPoolExecutor(n_threads) as pool:
        yield from _ahead(pool, work, items, n_threads)


def in_processes(work: Callable[[Item], Made], items: Sequence[Item]) -> Iterator[Made]:
    """``map(work, items)`` on all cores, for work that holds Python's lock; a few results ahead.

    Parameters
    ----------
    work
        Called in a forked process, which has all that this one holds; what it makes leaves it as
        a pickle. Its own loops share the cores with those of the other processes.
    items
        What it is called with. For a single one, or where Python does not fork safely (macOS),
        nothing is forked.

    Raises
    ------
    MemoryError
        If the system ends a process, as it does where memory is short.
    """
    n_processes = min(n_cores(), len(items))
    if n_processes < 2 or sys.platform != "linux":
        yield from map(work, items)
        return
    context = multiprocessing.get_context("fork")
    each = max(1, n_cores() // n_processes)
    try:
        with ProcessPoolExecutor(n_processes, context, _begin, (work, each)) as pool:
            yield from _ahead(pool, _work_here, items, 2 * n_processes)
    except BrokenProcessPool:
        raise MemoryError(f"one of {n_processes} processes was ended by the system") from None


_begun: list[Callable] = []  # the work of this process, if it is a forked one


def _begin(work: Callable, n_cores: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(n_cores)
    _begun[:] = [work]


def _work_here(item: Any) -> Any:
    return _begun[0](item)


def _ahead(
    pool: Executor, work: Callable[[Item], Made], items: Iterable[Item], n_ahead: int
) -> Iterator[Made]:
    """Results in order, so many ahead of the one in use."""
    ahead: deque[Future[Made]] = deque()
    for item in items:
        ahead.append(pool.submit(work, item))
        if len(ahead) > n_ahead:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def one_thread(user_api: str | None = None) -> AbstractContextManager:
    """A context in which BLAS and OpenMP, or one of them, work in one thread.

    For many small products, as classifiers make: the other threads of BLAS would wait for work by
    spinning, and take four times the CPU time for the same results. A forked process may not start
    those of OpenMP, which it would wait for without end.

    Parameters
    ----------
    user_api
        "blas" or "openmp"; None for both.
    """
    from threadpoolctl import threadpool_limits  # not in every image

    return threadpool_limits(limits=1, user_api=user_api)


@contextmanager
def compiled_once() -> Iterator[None]:
    """numba caches the functions of the packages that are imported within.

    umap-learn and pynndescent ask for that for a third of their functions; compiling the others
    takes 20 to 25 s in every process (3 s with all of them kept). They are with the packages, in
    the user's cache, or in ``NUMBA_CACHE_DIR``, and are compiled again if their source changes.
    """
    import numba

    plain = numba.njit

    def njit(*arguments: Any, **options: Any) -> Any:
        return plain(*arguments, **{"cache": True, **options})

    numba.njit = njit
    try:
        yield
    finally:
        numba.njit = plain
