"""The safetensors files of a model directory, and the tensors in them. No torch here."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from c2sflow.common.errors import UserError, some
from c2sflow.common.files import read_object
from c2sflow.model import adapters

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


# transformers loads the one, or what the other lists.
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def base_weights(directory: str | Path) -> list[str]:
    """Names of the safetensors files of a directory, but for those of an adapter."""
    names = sorted(path.name for path in Path(directory).glob("*.safetensors"))
    return [name for name in names if name != adapters.WEIGHTS]


def weight_files(directory: str | Path) -> list[str]:
    """Names of the safetensors files that hold the weights, missing ones of an index included.

    Those of an adapter are not among them.

    Raises
    ------
    UserError
        If there are none that transformers would load, or the index cannot be read.
    """
    directory = Path(directory)
    if (directory / INDEX).is_file():
        return sorted(set(_weight_map(directory).values()))
    names = base_weights(directory)
    if WEIGHTS in names:
        return [WEIGHTS]
    if not names and adapters.has_adapter(directory):
        raise UserError(
            f"model {directory}: an adapter without its base; name that with --base_model"
        )
    if not names:
        raise UserError(
            f"model {directory}: no *.safetensors weights; pickled weights (.bin, .pt) are not "
            "loaded because they can run code. Convert with save_pretrained(), which writes "
            "safetensors"
        )
    raise UserError(
        f"model {directory}: {some(names)} without {WEIGHTS} or {INDEX}, which define the "
        "weights; fetch the model again"
    )


def model_tensors(directory: str | Path) -> dict[str, tuple[str, Tensor]]:
    """Name to file and tensor of all weights of a model directory; an adapter's are none of it.

    Raises
    ------
    UserError
        If a file is missing or broken, or holds other tensors than the index lists.
    """
    directory = Path(directory)
    found: dict[str, tuple[str, Tensor]] = {}
    for name in weight_files(directory):
        if not (directory / name).is_file():
            raise UserError(f"model {directory}: {name} is missing; fetch the model again")
        tensors = read_tensors(directory / name)
        if twice := sorted(set(tensors) & set(found)):
            raise UserError(
                f"model {directory}: {some(twice)} in two files, {name} and {found[twice[0]][0]}"
            )
        found |= {tensor: (name, entry) for tensor, entry in tensors.items()}
    _check_index(directory, found)
    _check_dtypes(directory, found)
    return found


def weight_shapes(directory: str | Path) -> dict[str, list[int]]:
    """Name to shape of all tensors of a model directory; those of an adapter are none of it."""
    return {name: tensor.shape for name, (_, tensor) in model_tensors(directory).items()}


def _weight_map(directory: Path) -> dict[str, str]:
    """Tensor to file, as the index has it."""
    files = read_object(directory, INDEX).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise UserError(f"model {directory}: {INDEX} has no weight_map; fetch the model again")
    for name in files.values():
        if not isinstance(name, str) or name != Path(name).name:
            raise UserError(f"model {directory}: {INDEX} names {name!r}, which is no file there")
    return files


def _check_index(directory: Path, found: dict[str, tuple[str, Tensor]]) -> None:
    if not (directory / INDEX).is_file():
        return
    files = _weight_map(directory)
    if (directory / WEIGHTS).is_file() and WEIGHTS not in files.values():
        raise UserError(
            f"model {directory}: {WEIGHTS} and {INDEX}, which lists other files: delete the one "
            "that is not the model"
        )
    gone = sorted(name for name, file in files.items() if name not in found)
    moved = sorted(n for n, file in files.items() if n in found and found[n][0] != file)
    more = sorted(set(found) - set(files))
    if gone or moved:
        name = (gone or moved)[0]
        raise UserError(
            f"model {directory}: {files[name]} does not hold {some(gone or moved)}, which {INDEX} "
            "lists in it; fetch the model again"
        )
    if more:
        raise UserError(
            f"model {directory}: {found[more[0]][0]} holds {some(more)}, which {INDEX} does not "
            "list; fetch the model again"
        )


def _check_dtypes(directory: Path, found: dict[str, tuple[str, Tensor]]) -> None:
    odd = {
        name: tensor.dtype for name, (_, tensor) in found.items() if not _is_usable(name, tensor)
    }
    if odd:
        kinds = ", ".join(sorted(set(odd.values())))
        raise UserError(
            f"model {directory}: {some(sorted(odd))} of dtype {kinds}: quantised weights are not "
            "loaded; give the model in bfloat16, and quantise it with --quantization"
        )


def _is_usable(name: str, tensor: Tensor) -> bool:
    """Of floating point; or a mask or positions, which older files hold and nothing loads."""
    buffer = name.endswith((".bias", ".masked_bias", "position_ids"))
    return tensor.dtype in FLOATING or (buffer and tensor.dtype in ("BOOL", "U8", "I64"))


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
        From `c2sflow.model.weights.read_tensors`. Those of whole numbers are passed over.

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


def _read(handle: FileIO, chunk: np.ndarray) -> None:
    """Fill a chunk; a read may give less than was asked for."""
    view, filled = chunk.data, 0
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
