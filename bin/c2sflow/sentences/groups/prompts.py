"""Prompts of several cells.

The wordings of cell2sentence name the text of the cells {multi_cell_sentences}. A shard of groups
holds it where a shard of cells holds a sentence, so that the steps fill both alike: here the
template gets that name.
"""

from __future__ import annotations

from c2sflow.common.errors import UserError
from c2sflow.sentences.prompts import load_template, template_fields
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
