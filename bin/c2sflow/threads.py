"""Work on the cores of a task, in order and without running far ahead of who uses it.

numpy's sorts, h5py's reading and the compression of files let other threads run meanwhile.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


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
        ahead: deque[Future[Made]] = deque()
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
