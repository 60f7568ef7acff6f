"""What a notebook sees of the library's log: nothing but warnings, or its lines too."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from c2sflow.api.model import Cell2SenModel

LOGGER = logging.getLogger("c2sflow")
Given = ParamSpec("Given")
Made = TypeVar("Made")
Owner = TypeVar("Owner", bound="Cell2SenModel")


def logged(
    method: Callable[Concatenate[Owner, Given], Made],
) -> Callable[Concatenate[Owner, Given], Made]:
    """While the method works, the library logs as the setting `verbose` has it."""

    @functools.wraps(method)
    def wrapped(self: Owner, *args: Given.args, **kwargs: Given.kwargs) -> Made:
        with _log(self.config.verbose):
            return method(self, *args, **kwargs)

    return wrapped


@contextmanager
def _log(verbose: bool) -> Iterator[None]:
    """Log to stderr, unless the user's own handlers take it; at the end all is as before."""
    level, handler = LOGGER.level, None
    LOGGER.setLevel(logging.INFO if verbose else logging.WARNING)
    if not LOGGER.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        if handler is not None:
            LOGGER.removeHandler(handler)
