"""Gemma-3 (Gemma Team, 2025), text models: no soft-caps; windows have positions of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2sflow.model.architectures.family import DECODER, Family
from c2sflow.model.architectures.probes import probe_of_four_matrices

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class Gemma3(Family):
    """Gemma-3 without its part for images."""

    model_types = ("gemma3_text",)
    name = "Gemma-3"
    tested = True
    attentions = DECODER

    def probe(self, config: PreTrainedConfig) -> PreTrainedModel:
        """A sliding and a full layer."""
        return probe_of_four_matrices(config)


FAMILY = Gemma3()
