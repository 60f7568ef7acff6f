"""The prompt that asks for a label, where its entry has none of its own.

The published models were trained on prompts for the cell type of a cell and the tissue of several
cells (`c2sflow.sentences.wordings`); of other labels nobody knows their wording. The prompts of all
these are one up to the end of the cell sentence, so that it goes through the model once.
"""

from __future__ import annotations

from c2sflow.common.errors import UserError
from c2sflow.inputs.labels import CELL_TYPE, GROUP, Label
from c2sflow.sentences.groups.prompts import group_template, of_shards
from c2sflow.sentences.prompts import ANNOTATION_PROMPT, load_template
from c2sflow.sentences.variants import Variant, variants_of
from c2sflow.sentences.wordings import WORDINGS

LABEL_PROMPT = (
    "The following is a list of {{num_genes}} gene names ordered by descending expression level in "
    "a {{organism}} cell.\nCell sentence: {{cell_sentence}}.\nThe {label} of this cell is:"
)
GROUP_PROMPT = (
    "The following is a list of {{num_genes}} gene names ordered by descending expression level "
    "for {{num_cells}} different {{organism}} cells.\nCell sentences:\n{{cell_sentence}}.\n"
    "The {label} of these cells is:"
)
# Of groups there are wordings that models were trained with; the sentences of a group's cells are
# one field here.
GROUP_WORDINGS = {name: of_shards(WORDINGS[name][0]) for name in ("tissue",)}


def label_template(label: Label, annotation_prompt: str | None = None) -> str:
    """The template that asks for a label: its own, or the built-in one.

    Parameters
    ----------
    annotation_prompt
        Of cell types, see `c2sflow.sentences.prompts.load_template`.

    Raises
    ------
    UserError
        If it lacks {cell_sentence}, or is malformed.
    """
    if label.prompt is not None:
        if label.level == GROUP:
            return group_template(label.prompt)
        if "{" not in label.prompt:  # load_template would look for a file of that name
            raise UserError(f"prompt template lacks {{cell_sentence}}: {label.prompt[:200]!r}")
        return load_template(label.prompt, "", ["cell_sentence"])
    if label.level == GROUP:
        return GROUP_WORDINGS.get(label.name) or GROUP_PROMPT.format(label=label.words)
    if label.name == CELL_TYPE:
        return load_template(annotation_prompt, ANNOTATION_PROMPT, ["cell_sentence"])
    return LABEL_PROMPT.format(label=label.words)


def label_templates(
    label: Label, annotation_prompt: str | None = None, variant: Variant = None
) -> list[str]:
    """The templates whose probabilities are averaged: one, or of cell types all wordings."""
    template = label_template(label, annotation_prompt)
    if label.name != CELL_TYPE or label.prompt is not None or label.level == GROUP:
        return [template]
    return variants_of(template, "annotation_prompt", variant)
