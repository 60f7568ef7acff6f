"""Qwen 2 and 3 (Qwen Team, 2024 and 2025), their text models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2sflow.model.architectures.family import DECODER, Family
from c2sflow.model.architectures.probes import probe_of_four_matrices

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class Qwen(Family):
    """Qwen2, Qwen2.5 (of the same type) and Qwen3, without experts."""

    model_types = ("qwen2", "qwen3")
    name = "Qwen"
    tested = True
    attentions = DECODER

    def probe(self, config: PreTrainedConfig) -> PreTrainedModel:
        """Layers of the kinds that the model has."""
        return probe_of_four_matrices(config)


FAMILY = Qwen()
