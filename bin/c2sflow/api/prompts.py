"""The prompts of a notebook's settings: given or built in, with the text about the data set."""

from __future__ import annotations

from c2sflow.api.config import Cell2SenConfig
from c2sflow.sentences.groups.prompts import (
    GROUP_PROMPT,
    INTERPRETATION_PROMPT,
    group_template,
)
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    EMBEDDING_PROMPT,
    PERTURBATION_PROMPT,
    generation_template,
    load_template,
    with_context,
)
from c2sflow.sentences.variants import ALL, TASKS, variants_of

BUILT_IN = {
    "embedding_prompt": (EMBEDDING_PROMPT, ("cell_sentence",)),
    "annotation_prompt": (ANNOTATION_PROMPT, ("cell_sentence",)),
    "perturbation_prompt": (PERTURBATION_PROMPT, ("cell_sentence", "perturbation")),
}
OF_GROUPS = {"group_prompt": GROUP_PROMPT, "interpretation_prompt": INTERPRETATION_PROMPT}


def prompt_of(config: Cell2SenConfig, name: str) -> str:
    """The template of one of the prompts in `BUILT_IN`; of all wordings the first.

    Raises
    ------
    UserError
        If it lacks a field, is neither a template nor a file, or is not the built-in one and
        prompt_variant is set.
    """
    default, fields = BUILT_IN[name]
    template = load_template(getattr(config, name), default, fields)
    template = with_context(template, config.dataset_context)
    return variants_of(template, name, config.prompt_variant)[0] if name in TASKS else template


def prompt_of_groups(config: Cell2SenConfig, name: str) -> str:
    """The template of group_prompt or interpretation_prompt; of all wordings the first.

    Raises
    ------
    UserError
        See `prompt_of`.
    """
    template = group_template(getattr(config, name), OF_GROUPS[name])
    template = with_context(template, config.dataset_context)
    return variants_of(template, name, config.prompt_variant)[0]


def wordings_of(config: Cell2SenConfig, name: str, template: str) -> list[str]:
    """The templates to average over: that of `prompt_of`, or all wordings."""
    return variants_of(template, name, ALL if config.prompt_variant == ALL else None)


def prompt_of_generation(config: Cell2SenConfig, typed: bool, prompt: str | None = None) -> str:
    """The template of generated cells, see `c2sflow.sentences.prompts.generation_template`.

    Parameters
    ----------
    prompt
        None for the setting `generation_prompt`, in the wording of `prompt_variant`.
    """
    template = generation_template(
        prompt or config.generation_prompt, typed, config.dataset_context
    )
    variant = None if prompt else config.prompt_variant
    return variants_of(template, "generation_prompt", variant)[0]


def training_prompts(config: Cell2SenConfig, typed: bool) -> dict[str, str]:
    """The tasks' prompts as options of a training, but for those that are built in.

    Parameters
    ----------
    typed
        Whether cells to generate have a type.
    """
    changed = config.dataset_context is not None or config.prompt_variant is not None
    prompts = {
        name: prompt_of(config, name)
        for name in BUILT_IN
        if changed or getattr(config, name) is not None
    }
    if changed or config.generation_prompt is not None:
        prompts["generation_prompt"] = prompt_of_generation(config, typed)
    return prompts
