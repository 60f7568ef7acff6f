"""Gemma-2 (Gemma Team, 2024): soft-caps on the logits of attention and of the next token, and
every other layer sees a window only. C2S-Scale is of this family.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from c2sflow.model.architectures.family import Family

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class Gemma2(Family):
    """Gemma-2. sdpa is none of its attentions: it drops the soft-cap."""

    model_types = ("gemma2",)
    name = "Gemma-2"
    tested = True
    attentions = ("flash_attention_2", "flex_attention", "blockwise", "eager")
    norms: ClassVar[dict[str, float]] = {"Gemma2RMSNorm": 1.0}
    masks_by_kind = True

    def probe(self, config: PreTrainedConfig) -> PreTrainedModel:
        """A sliding and a full layer, with attention logits as large as the cap."""
        import torch
        from transformers import AutoModel

        small = copy.deepcopy(config)
        small.update(
            {
                "vocab_size": 64, "hidden_size": 64, "intermediate_size": 64,
                "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"],
                "sliding_window": 48, "max_position_embeddings": 512,
                "quantization_config": None, "pad_token_id": 0,
            }
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]), torch.no_grad():
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

    def small_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        """Gemma-2 with all its traits and 1.1 million parameters beside the vocabulary's."""
        import torch
        from transformers import Gemma2Config, Gemma2ForCausalLM

        torch.manual_seed(seed)
        config = Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=160,
            intermediate_size=448,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            query_pre_attn_scalar=32,
            sliding_window=128,
            attn_logit_softcapping=50.0,
            final_logit_softcapping=30.0,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        config._attn_implementation = "eager"
        return Gemma2ForCausalLM(config)


FAMILY = Gemma2()
