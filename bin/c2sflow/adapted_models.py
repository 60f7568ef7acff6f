"""A base model with its LoRA adapter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file
from transformers import PreTrainedModel

from c2sflow.adapters import CONFIG, WEIGHTS
from c2sflow.errors import UserError


@contextmanager
def base_alone(directory: Path) -> Iterator[Path]:
    """The base's files in a directory of their own.

    Where transformers sees an adapter, it looks for the base elsewhere.
    """
    with tempfile.TemporaryDirectory() as folder:
        for path in directory.iterdir():
            if path.name not in (CONFIG, WEIGHTS):
                (Path(folder) / path.name).symlink_to(path.resolve())
        yield Path(folder)


def apply_adapter(model: PreTrainedModel, directory: Path, merge: bool) -> PreTrainedModel:
    """The model, changed by the adapter of a directory.

    Parameters
    ----------
    model
        The base, with its head; it is changed itself.
    directory
        Checked by `c2sflow.model_files.read_config`.
    merge
        Add the adapter to the weights, so that it costs nothing; else (quantised weights) it stands
        beside them.

    Raises
    ------
    UserError
        If the adapter does not belong to this model.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

    config = PeftConfig.from_pretrained(directory)
    config.inference_mode = True
    config.base_model_name_or_path = model.name_or_path  # wherever it lies now
    try:
        adapted = get_peft_model(model, config)
        loaded = set_peft_model_state_dict(adapted, load_file(directory / WEIGHTS))
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"model {directory}: the adapter cannot be applied: {reason}") from error
    # The base's own weights are all "missing" from an adapter.
    missing = [name for name in loaded.missing_keys if ".lora_" in name]
    if missing or loaded.unexpected_keys:
        some = ", ".join([*missing, *loaded.unexpected_keys][:3])
        raise UserError(f"model {directory}: {WEIGHTS} and {CONFIG} do not go together: {some}")
    # Not PeftModel's own loading: that moves a model on the CPU to a GPU where there is one.
    return adapted.merge_and_unload() if merge else adapted.get_base_model()
