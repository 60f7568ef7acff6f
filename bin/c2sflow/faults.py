"""Collecting what is wrong, to tell it all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from c2sflow.errors import UserError


class Faults(list):
    """Messages for the user, one line each."""

    @contextmanager
    def collect(self, prefix: str = "") -> Iterator[None]:
        """Keep a UserError of the block instead of raising it."""
        try:
            yield
        except UserError as error:
            self.append(prefix + " ".join(str(error).split()))

    def text(self, where: str = "in the input; nothing was run") -> str:
        """All faults, numbered, a line each."""
        lines = "".join(f"\n{number:3}. {fault}" for number, fault in enumerate(self, 1))
        many = "1 fault" if len(self) == 1 else f"{len(self)} faults"
        return f"{many} {where}{lines}"

    def stop_if_any(self) -> None:
        """Raise all faults as one UserError."""
        if self:
            raise UserError(self.text())
