"""LoRA adapters: small weights (Hu et al., 2022) added to those of a base model.

A directory holds an adapter, as peft writes it, if it has an ``adapter_config.json``; the files of
its base are with it, or still have to be found. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from c2sflow.common.errors import UserError, some
from c2sflow.common.files import read_object
from c2sflow.model.architectures.family import Family
from c2sflow.model.weights import FLOATING, read_tensors

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
        If it cannot be read, is no LoRA, or its safetensors weights are missing or broken, or of
        another rank.
    """
    directory = Path(directory)
    config = read_object(directory, CONFIG)
    kind, rank = config.get("peft_type"), config.get("r")
    if kind is None or not isinstance(rank, int):
        raise UserError(f"model {directory}: {CONFIG} cannot be read: no peft_type or rank (r)")
    if kind != "LORA":
        raise UserError(f"model {directory}: an adapter of kind {kind}; c2sflow runs LORA")
    if not (directory / WEIGHTS).is_file():
        raise UserError(
            f"model {directory}: no {WEIGHTS}; pickled weights (.bin) are not loaded because they "
            "can run code"
        )
    _check_matrices(directory, config)
    return config


def _check_matrices(directory: Path, config: Mapping) -> None:
    """Each matrix A has its B, and both the rank that the configuration gives."""
    tensors = read_tensors(directory / WEIGHTS)
    rank = config["r"]
    odd = sorted(name for name, tensor in tensors.items() if tensor.dtype not in FLOATING)
    if odd:
        raise UserError(f"model {directory}: {WEIGHTS} holds {some(odd)} of no floating point")
    pairs: dict[str, dict[str, list[int]]] = {}
    for name, tensor in tensors.items():
        if match := MATRIX.fullmatch(name):
            pairs.setdefault(match[1], {})[match[2]] = tensor.shape
    if not pairs:
        raise UserError(f"model {directory}: {WEIGHTS} holds no matrices of a LoRA of rank {rank}")
    for module, sides in pairs.items():
        if alone := {"A", "B"} - set(sides):
            raise UserError(
                f"model {directory}: {WEIGHTS} lacks the matrix {alone.pop()} of {module}; fetch "
                "the adapter again"
            )
        ranks = {sides["A"][0], sides["B"][1]} if min(map(len, sides.values())) > 1 else {None}
        if len(ranks) > 1 or (not config.get("rank_pattern") and ranks != {rank}):
            raise UserError(
                f"model {directory}: the matrices of {module} are {sides['A']} and {sides['B']}, "
                f"and {CONFIG} gives rank {rank}; take the one that was saved with them"
            )


def check_fit(directory: str | Path, base: dict[str, list[int]], family: Family) -> None:
    """Whether an adapter belongs to a base of this shape.

    Parameters
    ----------
    directory
        Holds the adapter, checked here by `read_adapter`.
    base
        Name of each tensor of the base to its shape.
    family
        Of the base.

    Raises
    ------
    UserError
        If a matrix of the adapter belongs to none of the base, or to one of another size.
    """
    turned = bool(read_adapter(directory).get("fan_in_fan_out"))  # weights of GPT-2
    # A checkpoint of the backbone alone has names without it.
    prefixes = family.backbones
    base = base | {f"{prefix}.{name}": shape for name, shape in base.items() for prefix in prefixes}
    for name, tensor in read_tensors(Path(directory) / WEIGHTS).items():
        match = MATRIX.fullmatch(name)
        if match is None:
            continue
        module, side = match.groups()
        whole = base.get(f"{module}.weight")
        if whole is None:
            if module in family.heads:  # an adapter leaves it to its base
                continue
            raise UserError(
                f"model {directory}: the adapter changes {module}, which its base does not have; "
                "name the model it was made for with --base_model"
            )
        whole = whole[::-1] if turned else whole
        own, other = (tensor.shape[1], whole[-1]) if side == "A" else (tensor.shape[0], whole[0])
        if own != other:
            raise UserError(
                f"model {directory}: the adapter's {module} is {own} wide and that of its base "
                f"{other}; name the model it was made for with --base_model"
            )
