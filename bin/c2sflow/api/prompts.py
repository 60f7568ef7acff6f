"""The prompts of a notebook's settings: given or built in, with the text about the data set."""

from __future__ import annotations

from c2sflow.api.config import Cell2SenConfig
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    EMBEDDING_PROMPT,
    PERTURBATION_PROMPT,
    generation_template,
    load_template,
    with_context,
)

BUILT_IN = {
    "embedding_prompt": (EMBEDDING_PROMPT, ("cell_sentence",)),
    "annotation_prompt": (ANNOTATION_PROMPT, ("cell_sentence",)),
    "perturbation_prompt": (PERTURBATION_PROMPT, ("cell_sentence", "perturbation")),
}


def prompt_of(config: Cell2SenConfig, name: str) -> str:
    """The template of one of the prompts in `BUILT_IN`.

    Raises
    ------
    UserError
        If it lacks a field, or is neither a template nor a file.
    """
    default, fields = BUILT_IN[name]
    template = load_template(getattr(config, name), default, fields)
    return with_context(template, config.dataset_context)


def training_prompts(config: Cell2SenConfig, typed: bool) -> dict[str, str]:
    """The tasks' prompts as options of a training, but for those that are built in.

    Parameters
    ----------
    typed
        Whether cells to generate have a type.
    """
    prompts = {
        name: prompt_of(config, name)
        for name in BUILT_IN
        if config.dataset_context is not None or getattr(config, name) is not None
    }
    if config.dataset_context is not None or config.generation_prompt is not None:
        prompts["generation_prompt"] = generation_template(
            config.generation_prompt, typed, config.dataset_context
        )
    return prompts
