"""The safetensors files of a model directory, and the tensors in them. No torch here."""

from __future__ import annotations

from pathlib import Path

from c2sflow import adapters
from c2sflow.errors import UserError
from c2sflow.json_files import read_object
from c2sflow.name_lists import some
from c2sflow.safetensors_files import FLOATING, Tensor, read_tensors

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
        f"model {directory}: {some(names)} without {WEIGHTS} or {INDEX}, which say what the "
        "weights are; fetch the model again"
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
