"""LoRA adapters: small weights (Hu et al., 2022) that stand beside those of a base model.

A directory holds an adapter, as peft writes it, if it has an ``adapter_config.json``; the files of
its base lie beside that, or still have to be found. No torch here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from c2sflow.errors import UserError
from c2sflow.safetensors_files import tensor_shapes

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MATRIX = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


def has_adapter(directory: str | Path) -> bool:
    """Whether a model directory holds an adapter."""
    return (Path(directory) / CONFIG).is_file()


def read_adapter(directory: str | Path) -> dict:
    """adapter_config.json of a directory that holds an adapter.

    Raises
    ------
    UserError
        If it cannot be read, is no LoRA, or its safetensors weights are missing or broken.
    """
    directory = Path(directory)
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        kind, rank = config["peft_type"], config["r"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"model {directory}: {CONFIG} cannot be read: {type(error).__name__}: {error}"
        ) from None
    if kind != "LORA":
        raise UserError(f"model {directory}: an adapter of kind {kind}; c2sflow runs LORA")
    if not (directory / WEIGHTS).is_file():
        raise UserError(
            f"model {directory}: no {WEIGHTS}; pickled weights (.bin) are not loaded because they "
            "can run code"
        )
    shapes = tensor_shapes(directory / WEIGHTS)
    if not any(MATRIX.fullmatch(name) for name in shapes):
        raise UserError(f"model {directory}: {WEIGHTS} holds no matrices of a LoRA of rank {rank}")
    return config


def check_fit(directory: str | Path, base: dict[str, list[int]]) -> None:
    """Whether an adapter, checked by `read_adapter`, belongs to a base of this shape.

    Parameters
    ----------
    base
        Name of each tensor of the base to its shape.

    Raises
    ------
    UserError
        If a matrix of the adapter belongs to none of the base, or to one of another size.
    """
    for name, shape in tensor_shapes(Path(directory) / WEIGHTS).items():
        match = MATRIX.fullmatch(name)
        if match is None:
            continue
        module, side = match.groups()
        whole = base.get(f"{module}.weight")
        if whole is None:
            if module == "lm_head":  # tied to the token embeddings, and in no file
                continue
            raise UserError(
                f"model {directory}: the adapter changes {module}, which its base does not have; "
                "name the model it was made for with --base_model"
            )
        own, other = (shape[1], whole[1]) if side == "A" else (shape[0], whole[0])
        if own != other:
            raise UserError(
                f"model {directory}: the adapter's {module} is {own} wide and that of its base "
                f"{other}; name the model it was made for with --base_model"
            )
