"""Which implementation of attention a model gets: the fastest that agrees with eager."""

from __future__ import annotations

import copy
import logging

import numpy as np
import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import is_flash_attn_2_available

from c2sflow.attention import BLOCKWISE, PACKED
from c2sflow.errors import UserError
from c2sflow.prompt_pool import PromptPool

LOGGER = logging.getLogger(__name__)

# Largest relative difference to eager in float32. Rounding to bfloat16 makes 0.05 to 0.13 (float16
# 0.01), a dropped soft-cap or window 0.65 and more (tests/unit/test_attention_choice.py).
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.25}


def candidates(device: torch.device, dtype: torch.dtype, head: bool) -> list[str]:
    """Implementations that honour Gemma-2's soft-cap and window, the fastest first.

    A model that generates gets ours: its step can be compiled, where flex_attention compiles for
    every length of a cache and flash_attention_2 waits for the GPU to find the padding. Nor is
    flex_attention for a CPU, where it takes minutes to compile.
    """
    if device.type == "cpu":
        return [BLOCKWISE]
    if head:
        return [BLOCKWISE, "eager"]
    half = dtype in (torch.bfloat16, torch.float16)
    flash = ["flash_attention_2"] if half and is_flash_attn_2_available() else []
    return [*flash, "flex_attention", BLOCKWISE, "eager"]


def choose_attention(
    requested: str, config: PreTrainedConfig, device: torch.device, dtype: torch.dtype, head: bool
) -> str | None:
    """The implementation to load a model with; None leaves it to transformers (not Gemma-2).

    On a GPU each is first compared with eager, on a small model of the same shape of heads: what
    does not run there, or drops the soft-cap or the window, is not taken.

    Raises
    ------
    UserError
        If the implementation asked for does not run, or disagrees with eager.
    """
    if config.model_type != "gemma2":
        return None if requested == "auto" else requested
    if requested == "auto" and device.type == "cpu":
        return BLOCKWISE  # compared with eager by the tests
    names = candidates(device, dtype, head) if requested == "auto" else [requested]
    for name in names:
        fault = _fault(name, config, device, dtype)
        if fault is None:
            return name
        LOGGER.warning("attention %s is not used: %s", name, fault)
    raise UserError(f"--attention {requested}: {fault}; use --attention auto")


def _fault(
    name: str, config: PreTrainedConfig, device: torch.device, dtype: torch.dtype
) -> str | None:
    """Why an implementation cannot be used here, or None."""
    if name == "eager":
        return None
    try:
        difference = disagreement(name, config, device, dtype)
    except Exception as error:  # whatever a kernel, a compiler or transformers can raise
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if difference > TOLERANCE[dtype]:
        return f"its result differs from eager's by {100 * difference:.0f} %"
    return None


@torch.inference_mode()
def disagreement(
    name: str, config: PreTrainedConfig, device: torch.device, dtype: torch.dtype
) -> float:
    """Norm of the difference to eager in float32, relative to the norm of that.

    Three prompts, longer and shorter than the window, go through two layers with the heads, cap
    and scaling of `config` and logits as large as the cap, in the layout that `name` is used with.
    """
    model = small_model(config)
    random = np.random.default_rng(0)
    prompts = [random.integers(3, 64, n).astype(np.int32) for n in (150, 70, 33)]
    expected = [
        model(input_ids=torch.from_numpy(ids[None].astype(np.int64)), use_cache=False)
        .last_hidden_state[0]
        for ids in prompts
    ]  # fmt: skip
    pool = PromptPool(max_tokens=600, packed=name in PACKED, multiple=128)
    for row, ids in enumerate(prompts):
        pool.add(row, ids)
    batch = pool.take()
    model = model.to(device, dtype)
    model.set_attn_implementation(name)
    hidden = model(**batch.inputs_on(device), use_cache=False).last_hidden_state.flatten(0, 1)
    difference = scale = 0.0
    for row, start in zip(batch.rows, batch.starts, strict=True):
        made = hidden[start : start + len(expected[row])].float().cpu()
        difference += float((made - expected[row]).square().sum())
        scale += float(expected[row].square().sum())
    return (difference / scale) ** 0.5 if np.isfinite(difference) else np.inf


@torch.no_grad()
def small_model(config: PreTrainedConfig) -> PreTrainedModel:
    """Random weights, eager, float32: a sliding and a full layer with the heads of `config`."""
    small = copy.deepcopy(config)
    small.update(
        {
            "vocab_size": 64, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 48,
            "max_position_embeddings": 512, "quantization_config": None, "pad_token_id": 0,
        }
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModel.from_config(small, dtype=torch.float32, attn_implementation="eager")
        cap = config.attn_logit_softcapping or 50.0
        # Queries and keys of norm sqrt(head_dim) s²: logits with a deviation near the cap.
        size = (cap * small.query_pre_attn_scalar**0.5 / small.head_dim**0.5) ** 0.5
        for layer in model.layers:
            for matrix in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                matrix.weight.normal_(std=size / small.hidden_size**0.5)
            layer.self_attn.v_proj.weight.normal_(std=small.hidden_size**-0.5)
            layer.self_attn.o_proj.weight.normal_(std=small.head_dim**-0.5)
    return model.eval()
