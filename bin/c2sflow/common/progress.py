"""Progress of a long loop: a bar on a terminal, lines in a log, and a file for the workflow.

The workflow's tasks run where nobody looks; each leaves ``progress.json`` in its folder, from
which Nextflow logs how far a step is (``modules/progress.nf``).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

INTERVAL = 5  # seconds between two records
T = TypeVar("T")


class Recorder:
    """Writes how far one step is to a file, whole, at most every `INTERVAL` seconds."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._step = ""
        self._written = self._started = 0.0
        self._before = self._total = 0
        self._since = 0.0

    @property
    def active(self) -> bool:
        """Whether there is a file to write."""
        return self._path is not None

    def start(self, path: str | Path | None, step: str) -> None:
        """Record `step` to `path` from now on; without a path, nothing is recorded.

        The first record, of no unit at all, shows that the step runs.
        """
        self._path, self._step = Path(path) if path else None, step
        self._started = time.time()
        self.write(0, 0, "", 0)
        self._written = 0.0

    def among(self, before: int, total: int) -> None:
        """Record the loops that follow as the part of `total` units that begins after `before`."""
        self._before, self._total = before, total
        if before == 0:
            self._since = time.monotonic()

    def write(self, done: float, total: float, unit: str, seconds: float) -> None:
        """Record `done` of `total` units after `seconds`; the end of a loop is always written."""
        now = time.monotonic()
        if self._total:
            done, total, seconds = self._before + done, self._total, now - self._since
        if self._path is None or (done < total and now - self._written < INTERVAL):
            return
        self._written = now
        content = {
            "step": self._step,
            "unit": unit,
            "done": int(done),
            "total": int(total),
            "seconds": round(seconds, 1),
            "started": round(self._started, 1),  # since 1970
        }
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(self._path)


RECORDER = Recorder()


def in_parts(items: Sequence[T], sizes: Sequence[int]) -> Iterator[T]:
    """The items, one after the other; the record is of all their units, not of each item's own.

    Parameters
    ----------
    sizes
        Units (cells, answers) of each item's loops.
    """
    done = 0
    try:
        for item, size in zip(items, sizes, strict=True):
            RECORDER.among(done, sum(sizes))
            yield item
            done += size
    finally:
        RECORDER.among(0, 0)


class _Bar(tqdm):
    """A bar of tqdm that is recorded, too."""

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        if RECORDER.active and not self.disable:
            RECORDER.write(self.n, self.total or 0, self.unit, self.format_dict["elapsed"])
        return shown


def progress_bar(total: int, unit: str, show: bool | None = None) -> tqdm:
    """A bar on a terminal or in a notebook; in a log file a line every half a minute.

    Parameters
    ----------
    total
        Number of units.
    unit
        Its name in the singular: cell, answer.
    show
        Show the bar; None: only where the workflow records it.
    """
    shown = RECORDER.active if show is None else show
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    options: dict[str, Any] = {"mininterval": 0.1 if watched else 30}
    return _Bar(total=total, unit=unit, disable=not shown, **options)
