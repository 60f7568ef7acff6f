"""The families that c2sflow knows, by the model_type of config.json. A new one is one line here.

A module and not the package's ``__init__``: the digest of a step's code, by which -resume decides,
follows imports between modules (modules/code.nf).
"""

from __future__ import annotations

from pathlib import Path

from c2sflow.common.files import read_object
from c2sflow.model.architectures import gemma2, gemma3, gpt_neox, llama, qwen, roberta
from c2sflow.model.architectures.family import Family

FAMILIES: dict[str, Family] = {
    model_type: family
    for family in (
        gemma2.FAMILY,
        gemma3.FAMILY,
        gpt_neox.FAMILY,
        llama.FAMILY,
        qwen.FAMILY,
        roberta.FAMILY,
    )
    for model_type in family.model_types
}
UNKNOWN = Family()


def family_of(model_type: object) -> Family:
    """The family of a model_type; one that is not known has the traits that most have."""
    return FAMILIES.get(str(model_type), UNKNOWN)


def family_at(directory: str | Path) -> Family:
    """The family of a model directory.

    Raises
    ------
    UserError
        If its config.json cannot be read.
    """
    return family_of(read_object(directory, "config.json").get("model_type"))


def tested_names() -> str:
    """Names of the families of language models that c2sflow runs, for a message."""
    *others, last = sorted({family.name for family in FAMILIES.values() if family.tested})
    return f"{', '.join(others)} and {last}"
