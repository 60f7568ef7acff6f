"""Prompts of several cells.

The wordings of cell2sentence name the text of the cells {multi_cell_sentences}. A shard of groups
holds it where a shard of cells holds a sentence, so that the steps fill both alike: here the
template gets that name.
"""

from __future__ import annotations

import re

from c2sflow.common.errors import UserError
from c2sflow.sentences.groups.text import FIRST
from c2sflow.sentences.prompts import (
    GENERATION_FIELDS,
    OF_CELL_TYPE,
    load_template,
    template_fields,
    with_context,
)
from c2sflow.sentences.wordings import WORDINGS

SENTENCES = "multi_cell_sentences"
NUM_CELLS = "num_cells"


def of_shards(template: str) -> str:
    """The template by the names that shards of groups have."""
    return template.replace(f"{{{SENTENCES}}}", "{cell_sentence}")


GROUP_PROMPT = of_shards(WORDINGS["tissue"][0])
INTERPRETATION_PROMPT = of_shards(WORDINGS["interpretation"][0])


def group_template(prompt: str | None, default: str = GROUP_PROMPT) -> str:
    """A template of several cells, by the names of shards.

    Parameters
    ----------
    prompt
        See `c2sflow.sentences.prompts.load_template`; holds {multi_cell_sentences}.
    default
        The built-in one.

    Raises
    ------
    UserError
        If it lacks the sentences, or is malformed.
    """
    template = of_shards(load_template(prompt, default, ()))
    if "cell_sentence" not in template_fields(template):
        raise UserError(
            f"prompt template of several cells lacks {{{SENTENCES}}}: {template[:200]!r}"
        )
    return template


# How wordings name the tissue of cells to generate.
OF_TISSUE = re.compile(r"( originating| taken)? from( a)? \{tissue\} tissue( sample)?")


def about(wording: str, kind: str) -> str:
    """A wording of tissue-conditional generation that asks for cells of another kind.

    Parameters
    ----------
    kind
        "tissue"; "cell_type", which no published model was trained with; "" for any cells.
    """
    if kind == "tissue":
        return wording
    return OF_TISSUE.sub(OF_CELL_TYPE if kind else "", wording)


def group_generation_template(prompt: str | None, kind: str, context: str | None = None) -> str:
    """The template of several cells to generate at once, see `load_template`, `with_context`.

    Parameters
    ----------
    kind
        See `about`: what the prompt names.

    Raises
    ------
    UserError
        If it does not name that and the number of cells, or uses what such cells do not have.
    """
    default = about(WORDINGS["tissue_generation"][0], kind)
    template = load_template(prompt, default, [NUM_CELLS, *([kind] if kind else [])])
    template = with_context(template, context)
    known = GENERATION_FIELDS - {"cell_type"} | {NUM_CELLS, *([kind] if kind else [])}
    if unknown := set(template_fields(template)) - known:
        names = ", ".join(f"{{{name}}}" for name in sorted(unknown))
        raise UserError(
            f"the prompt uses {names}; of these cells only "
            f"{', '.join(f'{{{name}}}' for name in sorted(known))} are known "
            "(--tissues and --cell_types name what {tissue} and {cell_type} are)"
        )
    return template


def opened(template: str) -> str:
    """The template with what stands between a prompt and the first of several cells it asks for."""
    return template + (FIRST if template[-1:].isspace() else f" {FIRST}")


def unnamed(template: str) -> str:
    """A template of `group_generation_template` for any cells, if its wording is a known one."""
    for wording in WORDINGS["tissue_generation"]:
        for kind in ("tissue", "cell_type"):
            template = template.replace(about(wording, kind), about(wording, ""))
    return template
