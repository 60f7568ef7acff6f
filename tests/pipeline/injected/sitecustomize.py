"""Faults for a test: Python imports this file if its folder is in PYTHONPATH.

FAULT=kill: SIGKILL when the task has written or fetched a file but not yet given it its name.
FAULT=power: the same, and Nextflow is killed first, as if the machine had lost its power.
FAULT=kill-3, FAULT=power-3: at the third such file.
"""

import os
import signal
import sys
from pathlib import Path

FAULT, _, NUMBER = os.environ.get("FAULT", "").partition("-")
left = int(NUMBER or 1)


def ancestors(pid: int):
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        yield pid


def strike(event: str, args: tuple) -> None:
    if event != "os.rename":
        return
    source = Path(os.fspath(args[0])).name
    if not source.startswith(".") and not source.endswith(".incomplete"):
        return
    global left
    left -= 1
    if left:
        return
    if FAULT == "power":
        for pid in ancestors(os.getpid()):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "java":
                os.kill(pid, signal.SIGKILL)
                break
    os.kill(os.getpid(), signal.SIGKILL)


if FAULT:
    sys.addaudithook(strike)
