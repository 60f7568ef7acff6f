"""Gemma-2 (Gemma Team, 2024): soft-caps on the logits of attention and of the next token, and
every other layer sees a window only. C2S-Scale is of this family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from c2sflow.model.architectures.family import DECODER, Family
from c2sflow.model.architectures.probes import probe_of_four_matrices
from c2sflow.model.architectures.small_model import new_small_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class Gemma2(Family):
    """Gemma-2. sdpa is none of its attentions: it drops the soft-cap."""

    model_types = ("gemma2",)
    name = "Gemma-2"
    tested = True
    attentions = DECODER
    norms: ClassVar[dict[str, float]] = {"Gemma2RMSNorm": 1.0}
    gated = ("Gemma2MLP",)
    rotating = ("Gemma2Attention",)

    def probe(self, config: PreTrainedConfig) -> PreTrainedModel:
        """A sliding and a full layer, with attention logits as large as the cap."""
        return probe_of_four_matrices(config, config.attn_logit_softcapping or 50.0)

    def small_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        """Gemma-2 with all its traits and 1.1 million parameters beside the vocabulary's."""
        from transformers import Gemma2Config, Gemma2ForCausalLM

        return new_small_model(
            Gemma2Config,
            Gemma2ForCausalLM,
            tokenizer,
            seed,
            intermediate_size=448,
            num_key_value_heads=2,
            head_dim=32,
            query_pre_attn_scalar=32,
            sliding_window=128,
            attn_logit_softcapping=50.0,
            final_logit_softcapping=30.0,
        )


FAMILY = Gemma2()
