"""What numba compiles of a package: compiled by the first process, kept for the next ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def compiled_once() -> Iterator[None]:
    """numba caches the functions of the packages that are imported within.

    umap-learn and pynndescent ask for that for a third of their functions; compiling the others
    takes 20 to 25 s in every process (3 s with all of them kept). They lie beside the packages, in
    the user's cache, or in ``NUMBA_CACHE_DIR``, and are made anew if their source changes.
    """
    import numba

    plain = numba.njit

    def njit(*arguments: object, **options: object) -> Callable:
        return plain(*arguments, **{"cache": True, **options})

    numba.njit = njit
    try:
        yield
    finally:
        numba.njit = plain
