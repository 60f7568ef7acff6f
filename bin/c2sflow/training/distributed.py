"""The processes that train one model together, each on a device of its own (accelerate launch)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import reduce

Item = TypeVar("Item")


class Team:
    """This process among those that `accelerate launch` started, or alone.

    Every process has the whole model and takes its share of the examples of a step; what they add
    up is the same in all of them, so that all take the same step.

    Parameters
    ----------
    device
        auto, cpu or cuda, as for the other steps.
    """

    def __init__(self, device: str = "auto"):
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self.rank, self.device = 0, device
        if self.size > 1:
            state = PartialState(cpu=device == "cpu")
            self.rank, self.device = state.process_index, str(state.device)

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Those of the items that this process sees to."""
        return items[self.rank :: self.size]

    def add_up(self, tensors: Iterable[torch.Tensor]) -> None:
        """Put the sums over all processes in the place of these tensors."""
        if self.size == 1:
            return
        tensors = list(tensors)
        flat = reduce(torch.cat([tensor.flatten() for tensor in tensors]), reduction="sum")
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))
