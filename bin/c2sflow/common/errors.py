"""Errors that are the user's to mend: one clear line each, all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """Bad input. The message names the problem, the place, and the remedy.

    Scripts print it on one line without a traceback and exit with status 1.
    """


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


def brief(error: Exception) -> str:
    """An error of another package in one line: its kind, and how its message begins."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def likeliest(name: str, known: Iterable[object], most: int = 1) -> list[str]:
    """The names that a misspelt one probably means, in whatever case, the likeliest first."""
    by_case = {str(word).lower(): str(word) for word in known}
    return [by_case[word] for word in get_close_matches(name.lower(), by_case, n=most)]


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
