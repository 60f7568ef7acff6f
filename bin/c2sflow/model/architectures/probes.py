"""Small backbones in whose output a wrong attention shows: what families' `probe` is made of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

LOGITS = 10.0  # deviation of attention's logits, where nothing caps them


def small_backbone(
    config: PreTrainedConfig, sharpen: Callable[[Any, int], None], **changes: object
) -> PreTrainedModel:
    """A backbone of the attention of `config`: see `Family.probe`.

    Parameters
    ----------
    sharpen
        Called with each layer and the hidden size: gives its attention its weights.
    changes
        Of the configuration, beside what every family has: two layers, one of each kind, a window
        of 48 tokens and a vocabulary of 64.
    """
    import torch
    from transformers import AutoModel

    small = copy.deepcopy(config)
    small.update(
        {
            "vocab_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "pad_token_id": 0,
            "quantization_config": None, **changes,
        }
    )  # fmt: skip
    if kinds := sorted(set(getattr(config, "layer_types", None) or ()), reverse=True):
        small.update({"layer_types": (kinds * 2)[:2]})
    if getattr(config, "sliding_window", None):
        small.update({"sliding_window": 48})
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModel.from_config(small, dtype=torch.float32, attn_implementation="eager")
        layers: Any = model.layers  # which have no types
        for layer in layers:
            sharpen(layer, small.hidden_size)
    return model.eval()


def probe_of_four_matrices(config: PreTrainedConfig, logits: float = LOGITS) -> PreTrainedModel:
    """Of a family whose ``self_attn`` has q_proj, k_proj, v_proj and o_proj.

    Parameters
    ----------
    logits
        Deviation of attention's logits.
    """
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def sharpen(layer: Any, hidden: int) -> None:
        attention = layer.self_attn
        # Queries and keys of norm sqrt(width) s², which the layer scales.
        size = (logits / attention.scaling / width**0.5) ** 0.5
        for matrix in (attention.q_proj, attention.k_proj):
            matrix.weight.normal_(std=size / hidden**0.5)
        attention.v_proj.weight.normal_(std=hidden**-0.5)
        attention.o_proj.weight.normal_(std=width**-0.5)

    return small_backbone(config, sharpen, hidden_size=64, head_dim=width)
