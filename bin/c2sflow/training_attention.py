"""Which attention a model trains with: what gives the gradients that eager gives."""

from __future__ import annotations

import logging

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from c2sflow.attention import PACKED
from c2sflow.attention_choice import small_model
from c2sflow.prompt_pool import PromptPool

LOGGER = logging.getLogger(__name__)

# Largest relative difference to eager's gradients in float32. Rounding to float16 makes 0.04 to
# 0.06, a dropped window 0.49, a dropped soft-cap 1.3 and more.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.2}


def training_attention(
    config: PreTrainedConfig, device: torch.device, kept: torch.dtype, precision: torch.dtype
) -> str:
    """Attention to load a model with for training: never one that drops Gemma-2's soft-cap.

    On a GPU flex_attention, which takes packed rows, if its gradients are those of eager there;
    otherwise eager. (The blockwise attention of the other steps works in place and has none.)

    Parameters
    ----------
    kept, precision
        dtype of the weights, and of the products.
    """
    if config.model_type != "gemma2":
        return "auto"
    if device.type != "cuda":
        return "eager"
    # Its kernels are those of float16, whose rounding is told from a fault: bfloat16's is 0.25 to
    # 0.44.
    tried = {torch.bfloat16: torch.float16}
    kept, precision = tried.get(kept, kept), tried.get(precision, precision)
    try:
        difference = gradient_disagreement("flex_attention", config, device, kept, precision)
        reason = f"its gradients differ from eager's by {100 * difference:.0f} %"
    except Exception as error:  # whatever a kernel, a compiler or transformers can raise
        difference = np.inf
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if difference <= TOLERANCE[precision]:
        return "flex_attention"
    LOGGER.warning("attention flex_attention is not used to train: %s", reason)
    return "eager"


def gradient_disagreement(
    name: str,
    config: PreTrainedConfig,
    device: torch.device,
    kept: torch.dtype,
    precision: torch.dtype,
) -> float:
    """Norm of the difference to eager's gradients in float32, relative to the norm of those.

    Of three prompts, longer and shorter than the window, in the layout that `name` is used with.
    """
    random = np.random.default_rng(0)
    prompts = [random.integers(3, 64, n).astype(np.int32) for n in (150, 70, 33)]
    model = small_model(config)
    for ids in prompts:
        _backward(model, {"input_ids": torch.from_numpy(ids[None].astype(np.int64))}, [ids], [0])
    expected = _gradient(model)
    model = small_model(config).to(device, kept).train()
    model.set_attn_implementation(name)
    pool = PromptPool(max_tokens=600, packed=name in PACKED, multiple=128)
    for row, ids in enumerate(prompts):
        pool.add(row, ids)
    batch = pool.take()
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        _backward(model, batch.inputs_on(device), batch.prompts, batch.starts)
    made = _gradient(model)
    difference = float((made - expected).norm() / expected.norm())
    return difference if np.isfinite(difference) else np.inf


def _backward(model: PreTrainedModel, inputs: dict, prompts: list, starts: list) -> None:
    """Gradients of a fixed linear function of the hidden states of the prompts' tokens."""
    hidden = model(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)
    direction = torch.linspace(-1, 1, hidden.shape[1], device=hidden.device)
    rows = [hidden[start : start + ids.size] for ids, start in zip(prompts, starts, strict=True)]
    (torch.cat(rows).float() @ direction).sum().backward()


def _gradient(model: PreTrainedModel) -> torch.Tensor:
    """Of the layers' weights, which is where attention shows."""
    return torch.cat([p.grad.float().cpu().flatten() for p in model.layers.parameters()])
