"""Ways of doing something on a GPU, one after the other, each in a process of its own.

A process imports what takes seconds while the one before measures, and touches the GPU only when
it is its turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

PRELOADED = (
    "transformers.models.gemma2.modeling_gemma2",
    "c2sflow.generation.annotation", "c2sflow.model.attention_maps", "c2sflow.model.embedding",
    "c2sflow.model.tasks",
)  # fmt: skip


def run_ways(script: str, ways: Sequence[str], *arguments: object) -> Iterator[tuple[str, dict]]:
    """Each way with its figures as soon as it is measured.

    Parameters
    ----------
    script
        It measures one way if it is called with ``--one WAY`` and the arguments.

    Yields
    ------
    Way and figures: {"failed": why} where there are none, and the others go on.
    """
    started = [_start(script, way, arguments) for way in ways[:1]]
    try:
        for way, following in zip(ways, [*ways[1:], None], strict=True):
            if following:
                started.append(_start(script, following, arguments))
            yield way, _finish(started.pop(0))
    finally:
        for process in started:
            process.kill()


def _start(script: str, way: str, arguments: Sequence[object]) -> subprocess.Popen:
    command = [sys.executable, script, *map(str, arguments), "--one", way]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _finish(process: subprocess.Popen) -> dict:
    printed, logged = process.communicate("go\n")
    if process.returncode:
        return {"failed": (logged.strip().splitlines() or [f"status {process.returncode}"])[-1]}
    return json.loads(printed.splitlines()[-1])


def report_way(work: Callable[[], dict]) -> None:
    """In the process of a way: print its figures when it is its turn, or why there are none."""
    for name in PRELOADED:
        import_module(name)
    sys.stdin.readline()
    try:
        figures = work()
    except Exception as error:  # out of memory, not installed, no such card: another way may work
        figures = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    print(json.dumps(figures, default=float))


def keep_compiled(folder: str) -> None:
    """Let the processes to come keep in a folder what they compile; the first finds nothing."""
    os.environ |= {"TRITON_CACHE_DIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder}
