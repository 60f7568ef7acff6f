"""Memory that runs out: half as many tokens together, until one prompt alone does not fit."""

from __future__ import annotations

import logging
from types import TracebackType

import torch

from c2sflow.common.errors import UserError

LOGGER = logging.getLogger(__name__)


class MemoryWatch:
    """A block in which memory may run out; the error ends there, with the tensors it holds.

    Attributes
    ----------
    ran_out
        Whether it did, once the block is left.
    """

    def __init__(self) -> None:
        self.ran_out = False

    def __enter__(self) -> MemoryWatch:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:
        self.ran_out = isinstance(error, torch.OutOfMemoryError)
        return self.ran_out


def halved(
    n_tokens: int,
    longest: int,
    device: torch.device,
    *,
    alone: bool,
    what: str = "a prompt",
    option: str = "--quantization nf4",
) -> int:
    """Half of the tokens for which memory ran out.

    Parameters
    ----------
    n_tokens
        Most tokens together so far.
    longest
        Tokens of the longest among those that did not fit.
    alone
        It was the only one.
    what, option
        What the message calls it, and the option that saves most memory.

    Raises
    ------
    UserError
        If there is nothing to halve.
    """
    if alone:
        raise UserError(
            f"{what} of {longest} tokens alone does not fit into the memory of {device}; use "
            f"{option}, fewer genes (--max_genes) or a larger GPU"
        )
    torch.cuda.empty_cache()
    half = max(1, n_tokens // 2)
    LOGGER.warning("out of memory: up to %d tokens together now", half)
    return half
