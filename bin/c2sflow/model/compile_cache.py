"""A folder that keeps what torch compiles, so that of many tasks one compiles and the others read.

inductor and Triton look up what they make by its content, so a wrong hit cannot be; the folder's
own name (card, torch, code) keeps apart what could never be a hit, and lets old parts be deleted.

Many tasks may write to it at once, on a shared file system too (read in torch 2.15 and Triton 3.9,
in brackets where): a graph, its source and an autotuned choice are written to a file of the process
and thread and renamed (``torch/_inductor/codecache.py: write_atomic``); Triton's kernels are moved
from a folder of a random name (``triton/runtime/cache.py: FileCacheManager.put``,
``torch/_inductor/triton_bundler.py``); what g++ makes for a CPU is made under a lock on a file
(``codecache.py: _worker_compile_cpp``), and by filelock with a file of its own where the file
system knows no such locks. An entry that cannot be read counts as absent (``GuardedCache.
iterate_over_candidates``).
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

LOGGER = logging.getLogger(__name__)
PACKAGE = Path(__file__).parents[1]
# Files of ours that are compiled, or that decide what is: an edit begins a new folder.
COMPILED = ("model/packed_kernel.py", "model/fused_kernels.py", "generation/decode_kernel.py")
LIBRARIES = ("torch", "transformers", "triton")


def use_compile_cache(folder: str | Path | None, device: torch.device | str = "cpu") -> Path | None:
    """Let torch, inductor and Triton keep what they compile in a folder, in this process.

    To be called before anything is compiled.

    Parameters
    ----------
    folder
        Shared by all tasks; None or "" for none: then each compiles where the environment or torch
        has it.
    device
        What is compiled for.

    Returns
    -------
    The part of it that this process uses, an absolute path; None without a folder, and, with a
    warning, where nothing can be written to it.
    """
    if not folder:
        return None
    own = Path(folder).absolute() / cache_key(torch.device(device))
    try:
        own.mkdir(parents=True, exist_ok=True)
        if not os.access(own, os.W_OK | os.X_OK):
            raise PermissionError(13, "permission denied")
    except OSError as error:
        reason = error.strerror or error
        LOGGER.warning("--compile_cache %s is not used (%s): this task compiles", folder, reason)
        return None
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(own / "inductor")
    os.environ["TRITON_CACHE_DIR"] = str(own / "triton")
    from torch._functorch import config as autograd
    from torch._inductor import config as inductor

    inductor.fx_graph_cache = True
    autograd.enable_autograd_cache = True
    return own


def cache_key(device: torch.device) -> str:
    """Name of the folder for a device: card, torch, and a digest of the code that is compiled."""
    digest = hashlib.sha256(platform.machine().encode())
    for library in LIBRARIES:
        digest.update(f"{library} {_version(library)}\0".encode())
    for name in COMPILED:
        digest.update((PACKAGE / name).read_bytes())
    name = f"{_card(device)}-torch-{torch.__version__}-{digest.hexdigest()[:12]}"
    return re.sub(r"[^\w.+-]+", "_", name)


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:  # torch without Triton, for a CPU
        return None


def _card(device: torch.device) -> str:
    """The GPU's name, or that of the CPU: g++ compiles for the very one that it runs on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, 'CPU')}-{torch.backends.cpu.get_cpu_capability()}"
