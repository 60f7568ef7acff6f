"""Loads a model and its adapter, and reports what transformers left out."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
)

from c2sflow.common.errors import UserError, some
from c2sflow.model.adapters import CONFIG, WEIGHTS, has_adapter
from c2sflow.model.attention import choose_attention
from c2sflow.model.batching import devices_of
from c2sflow.model.config import load_config
from c2sflow.model.config import load_tokenizer as load_tokenizer
from c2sflow.model.files import read_config
from c2sflow.model.fp8 import fp8_fault, use_fp8
from c2sflow.model.memory_plan import MemoryPlan
from c2sflow.model.placement import free_memory, place, resolve_device, resolve_dtype
from c2sflow.model.weights import weight_shapes

LOGGER = logging.getLogger(__name__)
# A pooler is on top of what is read of an encoder, and checkpoints of language models lack it.
UNUSED = re.compile(r"(.+\.)?pooler\..+")


def loading_faults(
    report: Mapping[str, Iterable], model: type[PreTrainedModel] | PreTrainedModel, names: set[str]
) -> list[str]:
    """What is wrong with the weights of a model by transformers' report of loading them.

    Parameters
    ----------
    report
        From ``from_pretrained(..., output_loading_info=True)``; transformers has taken out what a
        family is known to tie or drop.
    model
        The class, or the model: a backbone alone may leave out the head that a checkpoint has.
    names
        All tensors of the checkpoint.

    Returns
    -------
    A line for each kind of fault, without the model's name.
    """
    prefix = f"{model.base_model_prefix}."
    headless = not _has_head(model) and any(name.startswith(prefix) for name in names)
    missing = sorted(name for name in report["missing_keys"] if not UNUSED.fullmatch(name))
    left = sorted(n for n in report["unexpected_keys"] if not headless or n.startswith(prefix))
    sizes = sorted((name, list(own), list(asked)) for name, own, asked in report["mismatched_keys"])
    faults = []
    if missing:
        faults.append(
            f"the weights lack {_count(missing)} that config.json asks for ({some(missing)}): "
            "they would be random; fetch the model again, or take the config.json "
            "that was saved with it"
        )
    if left:
        faults.append(
            f"the weights hold {_count(left)} that config.json has no place for ({some(left)}); "
            "take the config.json that was saved with them"
        )
    if sizes:
        name, own, asked = sizes[0]
        more = f", and {len(sizes) - 1} more differ" if len(sizes) > 1 else ""
        faults.append(
            f"{name} has the shape {own} and config.json asks for {asked}{more}; take the "
            "config.json that was saved with the weights"
        )
    faults += [" ".join(str(error).split())[:200] for error in report.get("error_msgs") or []]
    return faults


def _has_head(model: type[PreTrainedModel] | PreTrainedModel) -> bool:
    """Whether the backbone is a part of it, and not all of it."""
    whole = model if isinstance(model, type) else type(model)
    return whole.__name__.endswith(("ForCausalLM", "LMHeadModel"))


def _count(names: list[str]) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names)} tensors"


def _quantization_config(quantization: str, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if quantization == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return None


def loaded(
    kind: type[AutoModel] | type[AutoModelForCausalLM], directory: Path, **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model from safetensors alone, running no code of the directory, and how loading went.

    Parameters
    ----------
    options
        Of ``from_pretrained``.
    """
    made: Any = kind.from_pretrained(
        directory,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        **options,
    )
    return made


def load_model(
    directory: str | Path,
    *,
    head: bool,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
    quantization: str = "none",
) -> PreTrainedModel:
    """Load a model from a local directory, from safetensors only, for inference.

    An adapter in the directory is added to the weights; beside quantised ones it stays as it is.

    Parameters
    ----------
    head
        With the language-model head (for generation), or the backbone alone (for embedding:
        the head is a quarter of Gemma-2-2B's arithmetic and most of its memory).
    device
        auto, cpu, cuda or cuda:N.
    dtype
        auto, bfloat16, float16 or float32.
    attention
        auto, blockwise, eager, sdpa, flex_attention or flash_attention_2; see
        `c2sflow.model.attention`.
    quantization
        none, nf4 or int8 (bitsandbytes), or fp8 (see `c2sflow.model.fp8`).

    Raises
    ------
    UserError
        If the directory is not a usable model, it does not fit into memory, or model and options do
        not go together.
    """
    directory = Path(directory)
    read_config(directory)
    config = load_config(directory)
    where = resolve_device(device)
    precision = resolve_dtype(dtype, where, config)
    adapted = has_adapter(directory)
    if quantization == "fp8" and (fault := fp8_fault(where, precision)):
        raise UserError(fault)
    plan = MemoryPlan(config, precision, head or adapted)
    try:
        device_map = place(plan, quantization, where, free_memory(where))
    except UserError as error:
        raise UserError(f"model {directory}: {error}") from None
    chosen = choose_attention(attention, config, where, precision, head)
    try:
        # An adapter names matrices as they are called in the model with its head.
        with base_alone(directory) if adapted else nullcontext(directory) as files:
            model, report = loaded(
                AutoModelForCausalLM if head or adapted else AutoModel,
                files,
                config=config,
                dtype=precision,
                attn_implementation=chosen,
                quantization_config=_quantization_config(quantization, precision),
                device_map=device_map,
            )
    except torch.OutOfMemoryError:
        raise
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"model {directory} cannot be loaded ({chosen}, {precision}): {reason}"
        ) from error
    # A hole in the weights is filled with random numbers, other ones in every task.
    if faults := loading_faults(report, model, set(weight_shapes(directory))):
        raise UserError(f"model {directory}: {'; '.join(faults)}")
    if adapted:
        model = apply_adapter(model, directory, merge=quantization in ("none", "fp8"))
        model = model if head else cast("PreTrainedModel", model.base_model)
    if quantization == "fp8":
        use_fp8(model)
    if quantization == "nf4" and where.type == "cpu":
        _leave_odd_widths_unpacked(model)
    LOGGER.info(
        "model on %s, attention %s, weights %s%s, %.0f MiB",
        " and ".join(map(_describe, devices_of(model))),
        model.config._attn_implementation,
        str(precision).removeprefix("torch."),
        "" if quantization == "none" else f", {quantization}",
        model.get_memory_footprint() / 2**20,
    )
    return model.eval()


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return f"{device} ({torch.get_num_threads()} threads)"
    properties = torch.cuda.get_device_properties(device)
    return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"


def _leave_odd_widths_unpacked(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking nf4 weights whose rows are not whole blocks of 64.

    Its AVX-512 path (0.50) fails on them; the plain path computes the same.
    """
    modules: Iterable[Any] = model.modules()  # bitsandbytes' own have no types
    for module in modules:
        if hasattr(module, "support_avx512bf16_for_cpu") and module.in_features % 64:
            module.support_avx512bf16_for_cpu = False


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
        Checked by `c2sflow.model.files.read_config`.
    merge
        Add the adapter to the weights, so that it costs nothing; else (quantised weights) it stays
        beside them.

    Raises
    ------
    UserError
        If the adapter does not belong to this model.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

    config = PeftConfig.from_pretrained(str(directory))
    config.inference_mode = True
    config.base_model_name_or_path = model.name_or_path  # wherever it is now
    try:
        adapted = get_peft_model(model, config)
        found: Any = set_peft_model_state_dict(adapted, load_file(directory / WEIGHTS))
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"model {directory}: the adapter cannot be applied: {reason}") from error
    # The base's own weights are all "missing" from an adapter.
    missing = [name for name in found.missing_keys if ".lora_" in name]
    if missing or found.unexpected_keys:
        some = ", ".join([*missing, *found.unexpected_keys][:3])
        raise UserError(f"model {directory}: {WEIGHTS} and {CONFIG} do not go together: {some}")
    # Not PeftModel's own loading: that moves a model on the CPU to a GPU where there is one.
    return adapted.merge_and_unload() if merge else adapted.get_base_model()
