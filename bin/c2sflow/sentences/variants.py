"""Other wordings of a task's prompt, in the place of the built-in one."""

from __future__ import annotations

from c2sflow.common.errors import UserError
from c2sflow.sentences.groups.prompts import about, of_shards
from c2sflow.sentences.wordings import WORDINGS

ALL = "all"
Variant = int | str | None  # from 1; "all"; None for the built-in wording

# What each prompt asks the model. (cell2sentence has no wordings for perturbations.)
TASKS = {
    "embedding_prompt": "cell_type",
    "annotation_prompt": "cell_type",
    "generation_prompt": "generation",
    "group_prompt": "tissue",
    "interpretation_prompt": "interpretation",
}
# How wordings name the type of a cell to generate.
TYPE_PHRASES = (" of cell type {cell_type}", " with cell type {cell_type}", " {cell_type}")


def read_variant(given: object) -> Variant:
    """The variant that a text or number names.

    Raises
    ------
    UserError
        If it is neither "all" nor the number of a wording.
    """
    if given is None or given == ALL:
        return given
    most = max(len(WORDINGS[task]) for task in TASKS.values())
    text = str(given).strip()
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise UserError(f"prompt_variant {given}: 1 to {most}, or {ALL}")
    return int(text)


def without_type(wording: str) -> str:
    """A wording of generation that names no cell type."""
    for phrase in TYPE_PHRASES:
        wording = wording.replace(phrase, "")
    return wording


def _families(task: str) -> list[tuple[str, ...]]:
    """The wordings of a task: of generation those for a type, or none, and for several cells."""
    families = [tuple(map(of_shards, WORDINGS[task]))]
    if task == "generation":
        families.append(tuple(map(without_type, families[0])))
        for kind in ("tissue", "cell_type", ""):
            families.append(tuple(about(text, kind) for text in WORDINGS["tissue_generation"]))
    return families


def variants_of(template: str, prompt: str, variant: Variant) -> list[str]:
    """The templates that a variant stands for.

    Parameters
    ----------
    template
        The built-in wording, perhaps with a text about the data set before it.
    prompt
        Option that gives the template, one of `TASKS`.
    variant
        See `read_variant`.

    Returns
    -------
    One template, or with "all" that of each wording.

    Raises
    ------
    UserError
        If the template is a user's own, or there is no such wording.
    """
    if variant is None:
        return [template]
    families = _families(TASKS[prompt])
    wordings = next((own for own in families if own[0] in template), None)
    if wordings is None:
        raise UserError(
            f"--{prompt} and --prompt_variant {variant} exclude one another: variants are wordings "
            "of the built-in prompt; leave one of them out"
        )
    chosen = wordings
    if variant != ALL:
        if int(variant) > len(wordings):
            raise UserError(
                f"--prompt_variant {variant}: --{prompt} has {len(wordings)} wordings; choose 1 to "
                f"{len(wordings)}, or {ALL}"
            )
        chosen = wordings[int(variant) - 1 : int(variant)]
    return [template.replace(wordings[0], wording) for wording in chosen]
