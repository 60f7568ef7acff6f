"""What the benchmarks share: processes of their own, medians, and files of results."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from measured import ROOT, measured

# A rehearsal has a folder of its own: what was measured is not overwritten.
RESULTS = Path(os.environ.get("RESULTS") or ROOT / "benchmarks" / "results")
sys.path.insert(0, str(ROOT / "bin"))


def report_one(work: Callable[[], dict]) -> None:
    """In a process of its own: print the figures of `work` and the peak memory."""
    figures = work()
    # Not ru_maxrss, which begins with what the parent had at the time of the fork.
    print(json.dumps({**figures, "peak_mib": memory_kib("VmHWM") / 1024}))


def memory_kib(name: str) -> int:
    """Memory of this process: VmHWM, the most it had, or VmRSS, what it has."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1])


def forget_peak() -> int:
    """Let VmHWM begin anew, with what the process has now: KiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return memory_kib("VmRSS")


def run_one(script: str, *arguments: object) -> dict:
    """The figures that another process prints, in the environment that a task has."""
    environment = {
        **os.environ,
        "GOMP_SPINCOUNT": "3000",
        "MALLOC_MMAP_THRESHOLD_": "4294967296",
        "MALLOC_TRIM_THRESHOLD_": "4294967296",
    }
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def synchronize(device: str) -> None:
    """Wait for what a GPU still computes."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def peak_gpu_gib(device: str) -> float | None:
    """Most memory that tensors took on the GPU; None on a CPU."""
    if device == "cpu":
        return None
    import torch

    return torch.cuda.max_memory_allocated() / 2**30


def middle(runs: list[dict]) -> dict:
    """Median of each figure over runs."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def save(name: str, figures: dict) -> None:
    """Write benchmarks/results/<name>.json: `figures`, and on what they were measured."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"measured": measured(), **figures}, indent=2, default=float)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
