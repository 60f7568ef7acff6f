"""safetensors files, looked at without reading their tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from c2sflow.errors import UserError


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Name to shape of the tensors of a safetensors file, from its header alone.

    Raises
    ------
    UserError
        If it is none, or truncated.
    """
    try:
        with path.open("rb") as handle:
            (size,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(size))
    except (struct.error, ValueError, MemoryError, OverflowError):
        raise UserError(
            f"model {path.parent}: {path.name} is no safetensors file, or truncated (a Git LFS "
            "pointer?); fetch the model again"
        ) from None
    header.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if path.stat().st_size != 8 + size + end:
        raise UserError(f"model {path.parent}: {path.name} is truncated; fetch the model again")
    return {name: entry["shape"] for name, entry in header.items()}
