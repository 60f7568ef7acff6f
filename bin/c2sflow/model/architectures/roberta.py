"""RoBERTa and its kin: text encoders whose positions begin behind that of the padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2sflow.model.architectures.family import Family

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class Roberta(Family):
    """RoBERTa, a text encoder for ``--text_encoder``."""

    model_types = ("roberta", "xlm-roberta", "camembert")
    name = "RoBERTa"

    def n_positions(self, config: PreTrainedConfig) -> int:
        """Those that are left behind the padding's."""
        return config.max_position_embeddings - (config.pad_token_id + 1)


FAMILY = Roberta()
