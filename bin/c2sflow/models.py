"""Loading a language model: device, dtype, attention and quantisation."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import is_flash_attn_2_available

from c2sflow.errors import UserError
from c2sflow.model_files import read_config

LOGGER = logging.getLogger(__name__)


def resolve_device(device: str = "auto") -> torch.device:
    """`auto` is the GPU where there is one.

    Raises
    ------
    UserError
        If cuda is asked for and torch sees no GPU: never falls back to the CPU in silence.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: torch sees no GPU here. Check nvidia-smi, CUDA_VISIBLE_DEVICES and "
            "that the container was started with GPU access, or use --device cpu"
        )
    return torch.device(device)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU that has it, else float32.

    On CPU float32 is 1.5 times as fast as bfloat16 (measured, AVX-512), and exact.
    """
    if dtype != "auto":
        return getattr(torch, dtype)
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32


def resolve_attention(attention: str, device: torch.device, dtype: torch.dtype) -> str:
    """`auto` is the fastest implementation that honours Gemma-2's soft-capped logits.

    That is flash_attention_2 where it is installed (GPU, half precision), else eager. sdpa has no
    soft-cap, and transformers refuses it for Gemma-2.
    """
    if attention != "auto":
        return attention
    half = dtype in (torch.bfloat16, torch.float16)
    if device.type == "cuda" and half and is_flash_attn_2_available():
        return "flash_attention_2"
    return "eager"


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
        auto, eager, sdpa, flex_attention or flash_attention_2.
    quantization
        none, nf4 or int8 (bitsandbytes).

    Raises
    ------
    UserError
        If the directory is not a usable model, or model and options do not go together.
    """
    directory = Path(directory)
    read_config(directory)
    where = resolve_device(device)
    precision = resolve_dtype(dtype, where)
    chosen = resolve_attention(attention, where, precision)
    try:
        model = (AutoModelForCausalLM if head else AutoModel).from_pretrained(
            directory,
            config=AutoConfig.from_pretrained(directory, trust_remote_code=False),
            dtype=precision,
            attn_implementation=chosen,
            quantization_config=_quantization_config(quantization, precision),
            device_map={"": str(where)},
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"model {directory} cannot be loaded ({chosen}, {precision}): {reason}"
        ) from error
    if quantization == "nf4" and where.type == "cpu":
        _leave_odd_widths_unpacked(model)
    LOGGER.info(
        "model on %s (%s), attention %s, weights %s%s, %.0f MiB",
        where,
        torch.cuda.get_device_name(where) if where.type == "cuda" else "CPU",
        chosen,
        str(precision).removeprefix("torch."),
        "" if quantization == "none" else f", {quantization}",
        model.get_memory_footprint() / 2**20,
    )
    return model.eval()


def _leave_odd_widths_unpacked(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking nf4 weights whose rows are not whole blocks of 64.

    Its AVX-512 path (0.50) fails on them; the plain path computes the same.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu") and module.in_features % 64:
            module.support_avx512bf16_for_cpu = False


def load_tokenizer(directory: str | Path) -> PreTrainedTokenizerBase:
    """The model's own fast tokenizer, padding on the left.

    Raises
    ------
    UserError
        If there is none, or it has no padding token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True, padding_side="left"
        )
    except (ValueError, OSError) as error:
        raise UserError(f"model {directory}: tokenizer cannot be loaded: {error}") from None
    if tokenizer.pad_token_id is None:
        raise UserError(f"model {directory}: the tokenizer has no padding token")
    return tokenizer
