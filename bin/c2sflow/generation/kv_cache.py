"""The key-value cache that generation decodes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import Cache, PreTrainedConfig
from transformers.cache_utils import CacheLayerMixin


class _Layer(CacheLayerMixin):
    """One layer's keys and values, (n_rows, n_key_value_heads, n_slots, head_dim)."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, n_rows: int, n_slots: int):
        super().__init__()
        self.shape = n_rows, n_slots
        self.length = 0
        self.slot: torch.Tensor | None = None  # where a static step writes, see DecodeCache.static
        self.place: tuple[torch.Tensor, torch.Tensor] | None = None  # see DecodeCache.scattered

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        n_rows, n_slots = self.shape
        self.keys, self.values = (
            # Zeros: what a masked slot holds is multiplied by a weight of zero, and must be finite.
            states.new_zeros(n_rows, states.shape[1], n_slots, states.shape[3])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.place is not None:
            rows, slots = self.place
            for own, states in ((self.keys, key_states), (self.values, value_states)):
                own[rows, :, slots] = states[0, :, : rows.numel()].transpose(0, 1)
            return key_states, value_states
        if self.slot is not None:
            self.keys.index_copy_(2, self.slot, key_states)
            self.values.index_copy_(2, self.slot, value_states)
            return self.keys, self.values
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.shape[1]


class DecodeCache(Cache):
    """Cache of a batch whose rows are exchanged while it runs.

    All rows end at the newest slot, and each sees the slots from its own start on. Sliding layers
    keep all slots too: their attention looks no further than its window.

    Parameters
    ----------
    n_rows, n_slots
        Rows decoded together, and tokens of a row.
    device
        Of `starts` and `newest`.

    Attributes
    ----------
    starts
        int64 (n_rows,): the first slot that each row sees.
    newest
        int64 (1,): the slot that a static step writes.
    """

    def __init__(self, config: PreTrainedConfig, n_rows: int, n_slots: int, device: torch.device):
        self.own = [_Layer(n_rows, n_slots) for _ in range(config.num_hidden_layers)]
        super().__init__(layers=[*self.own])
        self.n_slots = n_slots
        self.slots = torch.arange(n_slots, device=device)
        self.starts = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self.newest = torch.zeros(1, dtype=torch.int64, device=device)

    @property
    def length(self) -> int:
        """Slots written so far."""
        return self.own[0].length

    def clear(self, length: int) -> None:
        """Forget all rows; the next ones are at most `length` long, and end at one slot."""
        self.rewind(length)
        self.starts.fill_(length)

    def rewind(self, length: int) -> None:
        """Forget everything behind the first `length` slots."""
        for layer in self.own:
            layer.length = length

    def take_in(self, rows: torch.Tensor, other: DecodeCache, sources: torch.Tensor) -> None:
        """Put rows `sources` of another cache into the place of `rows`, to end at the newest slot.

        They must not be longer than what is there.
        """
        n_slots = other.length
        first = self.length - n_slots
        place = slice(first, self.length)
        for layer, source in zip(self.own, other.own, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(source.keys, source.values)
            own, others = rows.to(layer.keys.device), sources.to(layer.keys.device)
            layer.keys[own, :, place] = source.keys[others, :, :n_slots]
            layer.values[own, :, place] = source.values[others, :, :n_slots]
        self.starts[rows] = other.starts[sources] + first

    def continue_from(
        self, other: DecodeCache, sources: torch.Tensor, lengths: torch.Tensor
    ) -> None:
        """Begin with the first tokens of rows of another cache; all end at one slot.

        Parameters
        ----------
        sources, lengths
            int64 (n_rows,), on the CPU: for each row the other's row, and how many of its tokens.
        """
        end = int(lengths.max())
        self.rewind(end)
        if not end:
            return
        starts = other.starts.cpu()[sources] + lengths - end
        # What stands before a row's first token is not seen: any slot of the other will do.
        slots = (starts[:, None] + torch.arange(end)).clamp(0, other.length - 1)
        for layer, source in zip(self.own, other.own, strict=True):
            layer.lazy_initialization(source.keys, source.values)
            place = (sources[:, None].to(source.keys.device), slice(None))
            index = (*place, slots.to(source.keys.device))
            layer.keys[:, :, :end] = source.keys[index].transpose(1, 2)
            layer.values[:, :, :end] = source.values[index].transpose(1, 2)

    def release(self, rows: torch.Tensor) -> None:
        """Let rows that nobody needs see nothing but what they write from now on.

        Not nothing: attention over no key is NaN in some families, and would stay in the cache.
        """
        self.starts[rows] = self.length

    def seen(self, end: int) -> torch.Tensor:
        """bool (n_rows, end): which of the first `end` slots each row sees."""
        return self.slots[:end] >= self.starts[:, None]

    @contextmanager
    def static(self) -> Iterator[None]:
        """Within it, a step writes slot `newest` and its attention gets all slots.

        So nothing that the device runs depends on the length: `grow` counts the step.
        """
        for layer in self.own:
            layer.slot = self.newest
        try:
            yield
        finally:
            for layer in self.own:
                layer.slot = None

    @contextmanager
    def scattered(self, rows: torch.Tensor, slots: torch.Tensor) -> Iterator[None]:
        """Within it, the tokens of one packed row are written each to a row and slot of its own.

        Attention sees the packed row alone, whose mask keeps its prompts apart. Tokens behind the
        last of `rows` are padding.

        Parameters
        ----------
        rows, slots
            int64 (n_tokens,).
        """
        for layer in self.own:
            layer.place = rows, slots
        try:
            yield
        finally:
            for layer in self.own:
                layer.place = None

    def grow(self) -> None:
        """Count the slot that a static step has written."""
        self.rewind(self.length + 1)

    def make_room(self, used: int) -> None:
        """Move everything to the front when the slots are used up.

        Parameters
        ----------
        used
            Slots that the longest row needs, counted from the newest.
        """
        if self.length < self.n_slots:
            return
        first = self.length - used
        for layer in self.own:
            for states in (layer.keys, layer.values):
                states[:, :, :used] = states[:, :, first : self.length].clone()
        self.rewind(used)
        self.starts.sub_(first).clamp_min_(0)

    def keep(self, rows: torch.Tensor) -> None:
        """Keep some rows only."""
        for layer in self.own:
            layer.keys = layer.keys[rows.to(layer.keys.device)]
            layer.values = layer.values[rows.to(layer.values.device)]
            layer.shape = len(rows), self.n_slots
        self.starts = self.starts[rows]
