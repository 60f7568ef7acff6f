"""The prompts of a notebook's settings: given or built in, with the text about the data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from c2sflow.api.config import Cell2SenConfig
from c2sflow.generation.plan import answer_template
from c2sflow.model.trained import SEVERAL_PROMPT, fitting_generation
from c2sflow.sentences.groups.prompts import (
    GROUP_PROMPT,
    INTERPRETATION_PROMPT,
    group_template,
)
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    EMBEDDING_PROMPT,
    PERTURBATION_PROMPT,
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


def prompt_of(config: Cell2SenConfig, name: str, own: Mapping[str, str] | None = None) -> str:
    """The template of one of the prompts in `BUILT_IN`; of all wordings the first.

    Parameters
    ----------
    own
        Prompts that the model was trained with, by their setting: in the place of the built-in one,
        unless prompt_variant names a wording.

    Raises
    ------
    UserError
        If it lacks a field, is neither a template nor a file, or is not the built-in one and
        prompt_variant is set.
    """
    default, fields = BUILT_IN[name]
    template = load_template(given_prompt(config, name, own), default, fields)
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


def given_prompt(
    config: Cell2SenConfig, name: str, own: Mapping[str, str] | None = None
) -> str | None:
    """The prompt of a setting, else the model's own: see `prompt_of`; None for the built-in one."""
    given = getattr(config, name)
    if given is None and config.prompt_variant is None:
        return (own or {}).get(name)
    return given


def wordings_of(config: Cell2SenConfig, name: str, template: str) -> list[str]:
    """The templates to average over: that of `prompt_of`, or all wordings."""
    return variants_of(template, name, ALL if config.prompt_variant == ALL else None)


def prompt_of_generation(
    config: Cell2SenConfig,
    names: str,
    several: bool = False,
    prompt: str | None = None,
    own: Mapping[str, str] | None = None,
) -> str:
    """The template of generated cells, see `c2sflow.generation.plan.answer_template`.

    Parameters
    ----------
    names, several
        What it names, and whether several cells are asked for at once.
    prompt
        None for the setting `generation_prompt`, in the wording of `prompt_variant`.
    own
        See `prompt_of`; one that names a type is taken for typed cells only, and reversely.
    """
    fitting = fitting_generation(own or {}, names, several)
    given = prompt or given_prompt(config, "generation_prompt", fitting)
    template = answer_template(given, names, several, config.dataset_context)
    variant = None if prompt else config.prompt_variant
    return variants_of(template, "generation_prompt", variant)[0]


def training_prompts(
    config: Cell2SenConfig, typed: bool, own: Mapping[str, str], of_cells: str | None = None
) -> dict[str, str]:
    """The tasks' prompts as options of a training, but for those that are built in.

    Parameters
    ----------
    typed
        Whether cells to generate have a type.
    own
        See `prompt_of`: of the base.
    of_cells
        With answers of several cells, what their prompts name.
    """
    changed = config.dataset_context is not None or config.prompt_variant is not None
    prompts = {
        name: prompt_of(config, name, own)
        for name in BUILT_IN
        if changed or getattr(config, name) is not None or name in own
    }
    if changed or config.generation_prompt is not None or "generation_prompt" in own:
        names = "cell_type" if typed else ""
        prompts["generation_prompt"] = prompt_of_generation(config, names, own=own)
    if of_cells is not None and (changed or SEVERAL_PROMPT in own):
        plain = replace(config, generation_prompt=None)  # that one is of one cell
        prompts["cells_prompt"] = prompt_of_generation(plain, of_cells, several=True, own=own)
    return prompts
