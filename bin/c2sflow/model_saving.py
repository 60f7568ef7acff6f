"""Trained models as directories that --model accepts: safetensors, configurations, tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

# What an adapter takes along of its base, so that it can be looked at without it.
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja",
)  # fmt: skip
OF_BASE = ("config.json", "generation_config.json", *TOKENIZER)


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
    dtype: torch.dtype,
    base: Path | None = None,
) -> None:
    """Write a whole model.

    Parameters
    ----------
    dtype
        Of the weights in the file.
    base
        Model directory whose tokenizer files are taken as they are; None writes those of
        `tokenizer`, which was made for this model.
    """
    directory.mkdir(parents=True, exist_ok=True)
    model.config.use_cache = True
    model.to(dtype).save_pretrained(directory)
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
    config.base_model_name_or_path, config.revision = name, revision or None
    config.target_modules = sorted(config.target_modules)  # a set has no order of its own
    config.inference_mode = True
    config.save_pretrained(directory)
    _copy(base, OF_BASE, directory)
    _readable(directory)


def _copy(source: Path, names: tuple[str, ...], directory: Path) -> None:
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, directory / name)


def _readable(directory: Path) -> None:
    for file in directory.iterdir():
        file.chmod(0o644)  # transformers writes weights for their owner only
