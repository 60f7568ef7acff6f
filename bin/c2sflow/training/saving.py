"""Trained models as directories that --model accepts: safetensors, configurations, tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.model.loading import apply_adapter, load_model
from c2sflow.training.trainee import Trainee

# What an adapter takes along of its base, so that it can be looked at without it.
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja",
)  # fmt: skip
OF_BASE = ("config.json", "generation_config.json", *TOKENIZER)


def write_trained(
    folder: Path,
    trainee: Trainee,
    base: Path | None,
    named: Mapping[str, str] | None,
    merge: bool,
) -> None:
    """Write what was trained to ``model/``, without its card.

    Weights are written in float32, as they were trained. Rounded to bfloat16, most of what
    training adds to a weight is less than half of its last digit, and lost: of a whole model
    trained for 24 steps three weights of four were the base's again.

    Parameters
    ----------
    folder
        Gets ``model/``.
    base
        Directory of the base model; None for a new one.
    named
        id, revision and commit of the base: where users of an adapter find it.
    merge
        Write to ``model/`` the base model that has taken in the adapter, and to ``adapter/`` the
        adapter itself.
    """
    model = folder / "model"
    if trainee.adapter is None:
        save_model(trainee.model, trainee.tokenizer, model, base)
        return
    if base is None or named is None:
        raise ValueError("an adapter is written with the base that it was trained on")
    adapter = folder / "adapter" if merge else model
    revision = named["commit"] or named["revision"]
    save_adapter(trainee.adapter, adapter, base, named["id"], revision)
    if merge:
        # Into the base's weights as they are on disk, not as they were rounded for the training.
        whole = load_model(base, head=True, device="cpu", dtype="float32")
        save_model(apply_adapter(whole, adapter, merge=True), trainee.tokenizer, model, base)


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
    base: Path | None = None,
) -> None:
    """Write a whole model, in float32.

    Parameters
    ----------
    base
        Model directory whose tokenizer files are taken as they are; None writes those of
        `tokenizer`, which was made for this model.
    """
    directory.mkdir(parents=True, exist_ok=True)
    model.config.use_cache = True
    model.to(torch.float32)  # type: ignore[arg-type]  # transformers wraps it without its self
    model.save_pretrained(directory)
    if base is not None:
        _copy(base, TOKENIZER, directory)
    else:
        tokenizer.model_max_length = model.config.max_position_embeddings
        tokenizer.save_pretrained(directory)
        path = directory / "tokenizer_config.json"
        settings = json.loads(path.read_text())
        # By another class's name AutoTokenizer would rebuild the tokenizer: genes would fall apart.
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(settings, indent=2) + "\n")
    _readable(directory)


def save_adapter(adapter: PeftModel, directory: Path, base: Path, name: str, revision: str) -> None:
    """Write an adapter, in the form of peft, with configuration and tokenizer of its base.

    Parameters
    ----------
    base
        Directory of the base model.
    name, revision
        Where the base is found: hub id or path, and the commit.
    """
    directory.mkdir(parents=True, exist_ok=True)
    weights = get_peft_model_state_dict(adapter, save_embedding_layers=False)
    weights = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    save_file(weights, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    config = adapter.peft_config["default"]
    if not isinstance(config, LoraConfig):
        raise TypeError(f"an adapter of {type(config).__name__}, where only LoRA is trained")
    config.base_model_name_or_path, config.revision = name, revision or None
    config.target_modules = sorted(config.target_modules or ())  # a set has no order of its own
    config.inference_mode = True
    config.save_pretrained(str(directory))
    _copy(base, OF_BASE, directory)
    _readable(directory)


def _copy(source: Path, names: tuple[str, ...], directory: Path) -> None:
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, directory / name)


def _readable(directory: Path) -> None:
    for file in directory.iterdir():
        file.chmod(0o644)  # transformers writes weights for their owner only
