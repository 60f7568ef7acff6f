"""The prompt that asks for a label, where its entry has none of its own.

The published models were trained on prompts for the cell type of a cell and the tissue of several
cells (`c2sflow.sentences.wordings`); of other labels nobody knows their wording. The prompts of all
these are one up to the end of the cell sentence, so that it goes through the model once.
"""

from __future__ import annotations

from collections.abc import Sequence

from c2sflow.inputs.labels import CELL_TYPE, Label
from c2sflow.sentences.prompts import ANNOTATION_PROMPT, load_template, with_context
from c2sflow.sentences.variants import Variant, variants_of

LABEL_PROMPT = (
    "The following is a list of {{num_genes}} gene names ordered by descending expression level in "
    "a {{organism}} cell.\nCell sentence: {{cell_sentence}}.\nThe {label} of this cell is:"
)


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
        # A text without fields would be taken for the name of a file.
        text = label.prompt if "{" in label.prompt else f"{label.prompt}{{}}"
        return load_template(text, "", ["cell_sentence"])
    if label.name == CELL_TYPE:
        return load_template(annotation_prompt, ANNOTATION_PROMPT, ["cell_sentence"])
    return LABEL_PROMPT.format(label=label.words)


def label_templates(
    label: Label, annotation_prompt: str | None = None, variant: Variant = None
) -> list[str]:
    """The templates whose probabilities are averaged: one, or of cell types all wordings."""
    template = label_template(label, annotation_prompt)
    if label.name != CELL_TYPE or label.prompt is not None:
        return [template]
    return variants_of(template, "annotation_prompt", variant)


def with_prompts(
    labels: Sequence[Label], annotation_prompt: str | None, context: str | None
) -> dict[str, str]:
    """Template of each label by its name, with a text about the data set in it."""
    return {
        label.name: with_context(label_template(label, annotation_prompt), context)
        for label in labels
    }
