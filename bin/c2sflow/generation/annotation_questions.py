"""What a run asks for, made of its options: which prompts, and which answers to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from c2sflow.generation.annotation import Question
from c2sflow.inputs.labels import CELL_TYPE, Label
from c2sflow.inputs.lists import MOST, distinct_labels, names_types, read_cell_types
from c2sflow.model.trained import read_trained
from c2sflow.sentences.label_prompts import label_templates
from c2sflow.sentences.prompts import with_context
from c2sflow.sentences.variants import Variant


@dataclass(frozen=True)
class Asking:
    """How labels are asked for: options of a run.

    Attributes
    ----------
    cell_types
        See `labels_to_choose_from`, for a cell type whose entry has no answers.
    annotation_prompt
        Of the cell type: see `c2sflow.sentences.prompts.load_template`.
    prompt_variant
        See `c2sflow.sentences.variants.variants_of`.
    dataset_context
        Text about the data set in every prompt.
    min_probability
        Of labels that have none of their own.
    """

    cell_types: str | None = None
    annotation_prompt: str | None = None
    prompt_variant: Variant = None
    dataset_context: str | None = None
    min_probability: float | None = None

    def questions(
        self, labels: Sequence[Label], model: str | Path
    ) -> tuple[list[Question], dict[str, str]]:
        """The questions, and by label where its candidates come from.

        Parameters
        ----------
        model
            Its folder.

        Returns
        -------
        The second: "option", "model" or "free".
        """
        questions, sources = [], {}
        for label in labels:
            candidates, source = self._candidates(label, model)
            templates = label_templates(label, self.annotation_prompt, self.prompt_variant)
            prompts = tuple(with_context(text, self.dataset_context) for text in templates)
            least = label.min_probability
            least = self.min_probability if least is None else least
            own = replace(label, min_probability=least)
            questions.append(Question(own, prompts, candidates))
            sources[label.name] = source
        return questions, sources

    def _candidates(self, label: Label, model: str | Path) -> tuple[tuple[str, ...] | None, str]:
        if label.free:
            return None, "free"
        if label.candidates:
            return label.candidates, "option"
        if label.name != CELL_TYPE:
            raise ValueError(f"label {label.name!r} has no answers to choose from")
        found, source = labels_to_choose_from(self.cell_types, model)
        return None if found is None else tuple(found), source


def labels_to_choose_from(given: str | None, model: str | Path) -> tuple[list[str] | None, str]:
    """Cell types to choose from, and where they come from.

    Parameters
    ----------
    given
        --cell_types: see `c2sflow.inputs.lists.read_cell_types`; `NO_LIST` for free answers; None
        for the labels that the model was trained on, if its folder records some.
    model
        Its folder.

    Returns
    -------
    The labels, None for free answers; and "option", "model" or "free".
    """
    if names_types(given):
        return read_cell_types(str(given)), "option"
    own = [] if given else distinct_labels(read_trained(model).cell_types)
    return (own, "model") if 1 < len(own) <= MOST else (None, "free")
