"""On what a figure was measured: commit, machine, versions. Every benchmark's result holds it."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "torch", "transformers", "tokenizers", "peft", "bitsandbytes",
    "numpy", "scipy", "pandas", "scanpy", "anndata", "scikit-learn",
)  # fmt: skip
# Instructions that decide how fast a CPU multiplies matrices.
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@cache
def measured() -> dict[str, dict | str]:
    """What a figure depends on besides its options; the same through one process.

    Returns
    -------
    ``date`` (UTC), ``commit`` (40 hex digits, ``+changes`` if files under version control differ,
    "unknown" outside a clone), ``machine`` (`machine`), ``versions`` (of Python, of `PACKAGES` and
    of Nextflow; "not installed" where it is not).
    """
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: package_version(name) for name in PACKAGES},
            "nextflow": nextflow_version(),
        },
    }


def sentence() -> str:
    """The same in words, for a card or a document."""
    made = measured()
    versions = made["versions"]
    named = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "transformers"))
    machine = made["machine"]
    return (
        f"Measured on {made['date']} at commit {made['commit'][:12]}: {machine['cores']} cores of "
        f"{machine['cpu']}, {machine['memory_gib']} GiB; {named}."
    )


def commit(root: Path = ROOT) -> str:
    """Of the code at `root`; results that benchmarks have just written are no change of it."""
    git = ["git", "-C", str(root)]
    head = output([*git, "rev-parse", "HEAD"])
    if not head:
        return "unknown"
    changes = output(
        [*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results"]
    )
    return f"{head}+changes" if changes else head


def machine() -> dict[str, str | int | float | list[str]]:
    """CPU model and its `CPU_FLAGS`, cores this process may use, memory in GiB, GPUs."""
    cpu = cpu_information()
    gpus = output(
        ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    )
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in cpu.get("flags", "").split()],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "gpus": gpus.splitlines(),
    }


def cpu_information() -> dict[str, str]:
    """Fields of the first CPU."""
    try:
        first, *_ = Path("/proc/cpuinfo").read_text().split("\n\n")
    except OSError:
        return {}
    fields = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}


def package_version(name: str) -> str:
    """Without importing it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def nextflow_version() -> str:
    """As `nextflow -v` reports it."""
    return output(["nextflow", "-v"]).removeprefix("nextflow version ") or "not installed"


def output(command: list[str]) -> str:
    """What a program prints; nothing where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
