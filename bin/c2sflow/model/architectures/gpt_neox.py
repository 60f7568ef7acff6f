"""GPT-NeoX (Black et al., 2022), the family of Pythia: queries, keys and values in one matrix, a
byte-level tokenizer without a padding token. C2S-Pythia and C2S-Scale-Pythia are of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from c2sflow.model.architectures.family import DECODER, Family
from c2sflow.model.architectures.probes import LOGITS, small_backbone
from c2sflow.model.architectures.small_model import new_small_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class GPTNeoX(Family):
    """GPT-NeoX."""

    model_types = ("gpt_neox",)
    name = "GPT-NeoX (Pythia)"
    tested = True
    backbones = ("gpt_neox",)
    heads = ("lm_head", "embed_out")  # in transformers 5, and in files written before
    attentions = DECODER

    def probe(self, config: PreTrainedConfig) -> PreTrainedModel:
        """Two heads of the width that all have."""
        width = config.hidden_size // config.num_attention_heads

        def sharpen(layer: Any, hidden: int) -> None:
            attention = layer.attention
            attention.query_key_value.weight.normal_(std=(LOGITS / hidden) ** 0.5)
            attention.dense.weight.normal_(std=hidden**-0.5)

        return small_backbone(config, sharpen, num_attention_heads=2, hidden_size=2 * width)

    def small_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        """GPT-NeoX of the size of Gemma-2's small model: 1.2 million parameters beside tokens'."""
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        return new_small_model(
            GPTNeoXConfig, GPTNeoXForCausalLM, tokenizer, seed, intermediate_size=640
        )


FAMILY = GPTNeoX()
