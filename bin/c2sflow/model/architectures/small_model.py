"""The small model that is trained from scratch: one size, whatever the family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def new_small_model(
    config_class: Callable[..., PreTrainedConfig],
    model_class: Callable[..., PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    **traits: Any,
) -> PreTrainedModel:
    """A model of this family with random weights, eager.

    Parameters
    ----------
    traits
        What the family's configuration has beside the size that all share.
    """
    import torch

    torch.manual_seed(seed)
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **traits,
    )
    config._attn_implementation = "eager"
    return model_class(config)
