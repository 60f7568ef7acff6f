"""Families with a small model to train from scratch, by the model_type that it gets."""

from __future__ import annotations

from c2sflow.model.architectures import gemma2, gpt_neox
from c2sflow.model.architectures.family import Family

FROM_SCRATCH: dict[str, Family] = {
    family.model_types[0]: family for family in (gemma2.FAMILY, gpt_neox.FAMILY)
}
DEFAULT = next(iter(FROM_SCRATCH))
