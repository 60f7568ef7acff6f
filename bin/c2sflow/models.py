"""Loading a language model."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
)

from c2sflow.adapted_models import apply_adapter, base_alone
from c2sflow.adapters import has_adapter
from c2sflow.attention_choice import choose_attention
from c2sflow.batching import devices_of
from c2sflow.errors import UserError
from c2sflow.loading_report import loading_faults
from c2sflow.model_config import load_config
from c2sflow.model_files import read_config
from c2sflow.model_tokenizer import load_tokenizer as load_tokenizer
from c2sflow.placement import free_memory, place, resolve_device, resolve_dtype, weight_bytes
from c2sflow.weight_files import weight_shapes

LOGGER = logging.getLogger(__name__)


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
        `c2sflow.attention_choice`.
    quantization
        none, nf4 or int8 (bitsandbytes).

    Raises
    ------
    UserError
        If the directory is not a usable model, or model and options do not go together.
    """
    directory = Path(directory)
    read_config(directory)
    config = load_config(directory)
    where = resolve_device(device)
    precision = resolve_dtype(dtype, where, config)
    adapted = has_adapter(directory)
    needed = weight_bytes(directory, precision, quantization, head or adapted)
    device_map = place(needed, where, free_memory(where))
    chosen = choose_attention(attention, config, where, precision, head)
    try:
        # An adapter names matrices as they are called in the model with its head.
        with base_alone(directory) if adapted else nullcontext(directory) as files:
            model, report = (
                AutoModelForCausalLM if head or adapted else AutoModel
            ).from_pretrained(
                files,
                config=config,
                dtype=precision,
                attn_implementation=chosen,
                quantization_config=_quantization_config(quantization, precision),
                device_map=device_map,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
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
    if {"cpu", "disk"} & set(map(str, getattr(model, "hf_device_map", {}).values())) - {where.type}:
        raise UserError(
            f"model {directory} does not fit into the memory of the GPUs as it is cut between "
            "them; use --quantization nf4, or more GPUs (--gpus_per_task)"
        )
    if adapted:
        model = apply_adapter(model, directory, merge=quantization == "none")
        model = model if head else model.base_model
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
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu") and module.in_features % 64:
            module.support_avx512bf16_for_cpu = False
