"""Llama (Touvron et al., 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2sflow.model.architectures.family import DECODER, Family
from c2sflow.model.architectures.probes import probe_of_four_matrices

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class Llama(Family):
    """Llama, of any version whose config.json names its type so."""

    model_types = ("llama",)
    name = "Llama"
    tested = True
    attentions = DECODER

    def probe(self, config: PreTrainedConfig) -> PreTrainedModel:
        """Two layers that see everything."""
        return probe_of_four_matrices(config)


FAMILY = Llama()
