"""safetensors files, looked at without reading their tensors."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from c2sflow.errors import UserError

# Floating point numbers that a model computes with, and their bytes.
FLOATING = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file: its dtype as safetensors names it, and the bytes it takes there."""

    dtype: str
    shape: list[int]
    begin: int
    end: int


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name to tensor of a safetensors file, from its header alone.

    Raises
    ------
    UserError
        If it is none, or truncated.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            raise UserError(
                f"model {path.parent}: {path.name} is a Git LFS pointer and not the weights; run "
                "git lfs pull there, or fetch the model again"
            )
        handle.seek(0)
        try:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > size - 8:
                raise ValueError("a header longer than the file")
            header = json.loads(handle.read(length))
            header.pop("__metadata__", None)
            tensors = {name: _tensor(entry, 8 + length) for name, entry in header.items()}
        except (struct.error, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise UserError(
                f"model {path.parent}: {path.name} is no safetensors file, or truncated; fetch "
                "the model again"
            ) from None
    end = max((tensor.end for tensor in tensors.values()), default=8 + length)
    if size != end:
        raise UserError(f"model {path.parent}: {path.name} is truncated; fetch the model again")
    return tensors


def _tensor(entry: dict, start: int) -> Tensor:
    begin, end = entry["data_offsets"]
    tensor = Tensor(entry["dtype"], list(entry["shape"]), start + begin, start + end)
    size = FLOATING.get(tensor.dtype)
    if size is not None and end - begin != size * math.prod(tensor.shape):
        raise ValueError("bytes and shape differ")
    return tensor
