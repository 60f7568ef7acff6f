"""Weights that are no numbers, found by the bits of every value: no torch, and little memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from c2sflow.safetensors_files import Tensor

CHUNK = 2**24  # bytes read at a time
# Of each dtype: whole numbers of its size, the bits of the exponent, and of what lies below it. A
# value whose exponent is all ones is an infinity, or with any bit below it NaN (IEEE 754).
BITS = {
    "F64": ("<u8", 0x7FF0000000000000, 0x000FFFFFFFFFFFFF),
    "F32": ("<u4", 0x7F800000, 0x007FFFFF),
    "F16": ("<u2", 0x7C00, 0x03FF),
    "BF16": ("<u2", 0x7F80, 0x007F),
}


def not_finite(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Tensors of a safetensors file that hold NaN or infinity, and which of them they hold.

    Parameters
    ----------
    tensors
        From `c2sflow.safetensors_files.read_tensors`. Those of whole numbers are passed over.

    Returns
    -------
    Name to "NaN" or "infinity".
    """
    found: dict[str, str] = {}
    buffer = np.empty(CHUNK, dtype=np.uint8)
    with path.open("rb", buffering=0) as handle:
        for name, tensor in sorted(tensors.items(), key=lambda item: item[1].begin):
            if tensor.dtype not in BITS:
                continue
            handle.seek(tensor.begin)
            left = tensor.end - tensor.begin
            while left and name not in found:
                chunk = buffer[: min(left, CHUNK)]
                _read(handle, chunk)
                left -= chunk.size
                if kind := _kind(chunk, tensor.dtype):
                    found[name] = kind
    return found


def _read(handle, chunk: np.ndarray) -> None:
    """Fill a chunk; a read may give less than was asked for."""
    view, filled = memoryview(chunk), 0
    while filled < chunk.size:
        n = handle.readinto(view[filled:])
        if not n:
            raise OSError(f"{handle.name}: the file ended while it was read")
        filled += n


def _kind(chunk: np.ndarray, dtype: str) -> str | None:
    """What a chunk holds that is no number; it is changed."""
    whole, exponent, fraction = BITS[dtype]
    values = chunk.view(whole)
    values &= values.dtype.type(exponent | fraction)
    largest = int(values.max())
    if largest < exponent:
        return None
    return "NaN" if largest > exponent else "infinity"
