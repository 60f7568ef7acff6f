"""What c2sflow has to know of a family of models, and what it assumes of one that it does not know.

A family is a subclass in a file of its own, listed in `c2sflow.model.architectures.registry`; no
other module asks for a model's type. No torch at the top of these files: VALIDATE reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# The attentions of a language model whose layers are transformers' own, the fastest first.
DECODER = ("packed", "flash_attention_2", "flex_attention", "blockwise", "eager")


class Family:
    """A family of models; its defaults are those of a family that no file describes.

    Attributes
    ----------
    model_types
        Its names in config.json.
    name
        Its name for readers.
    tested
        c2sflow's own tests run it as a language model; another one is refused.
    config_names
        By what c2sflow asks of config.json, the names that the family may have for it.
    backbones
        Prefix of the names of the backbone's tensors in the model with its head.
    heads
        Names of the head's matrix, which is in no file where it is tied to the token embeddings.
    attentions
        Implementations that it may use, the fastest first: see `c2sflow.model.attention`. Each is
        compared with eager on the device by `probe`. Empty leaves the choice to transformers.
    norms
        Its classes of RMSNorm that multiply in float32 and round once, of attributes `weight` and
        `eps`; and what each adds to its weight.
    gated
        Its classes of feed-forward parts whose gate and up projections are multiplied, the former
        through the activation.
    rotating
        Its classes of attention that rotate whole heads, the second half against the first, by
        `apply_rotary_pos_emb` of their module. Of these three `c2sflow.model.fused_layers` makes a
        kernel each.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    name: ClassVar[str] = ""
    tested: ClassVar[bool] = False
    config_names: ClassVar[dict[str, set[str]]] = {
        "hidden_size": {"hidden_size", "n_embd", "d_model"},
        "num_hidden_layers": {"num_hidden_layers", "n_layer", "num_layers"},
        "num_attention_heads": {"num_attention_heads", "n_head", "num_heads"},
        "max_position_embeddings": {"max_position_embeddings", "n_positions"},
        "vocab_size": {"vocab_size"},
    }
    backbones: ClassVar[tuple[str, ...]] = ("model", "transformer", "gpt_neox")
    heads: ClassVar[tuple[str, ...]] = ("lm_head", "embed_out")
    attentions: ClassVar[tuple[str, ...]] = ()
    norms: ClassVar[dict[str, float]] = {}
    gated: ClassVar[tuple[str, ...]] = ()
    rotating: ClassVar[tuple[str, ...]] = ()

    def n_positions(self, config: PreTrainedConfig) -> int:
        """Most tokens that a model of this configuration reads."""
        return config.max_position_embeddings

    def logit_cap(self, config: PreTrainedConfig) -> float | None:
        """Soft-cap of the logits of the next token, or None."""
        return getattr(config, "final_logit_softcapping", None)

    def layers(self, backbone: PreTrainedModel) -> nn.ModuleList:
        """Its layers, in order."""
        return cast("nn.ModuleList", backbone.get_submodule("layers"))

    def probe(self, config: PreTrainedConfig) -> PreTrainedModel:
        """A small backbone of the same attention, in whose output a wrong one shows.

        Two layers with the heads of `config`, random weights, eager, float32, on the CPU; token
        ids 3 to 63, and room for 150 of them.
        """
        raise NotImplementedError(f"{type(self).__name__} lists attentions, and has no probe")

    def small_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        """A new small model with random weights, to train from scratch."""
        raise NotImplementedError(f"{type(self).__name__} is not trained from scratch")
