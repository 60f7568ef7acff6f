"""What a model is trained with here, for its record: later runs take their defaults from it."""

from __future__ import annotations

from pathlib import Path

from c2sflow.model.trained import SEVERAL_PROMPT, Trained, read_trained
from c2sflow.sentences.groups.prompts import about
from c2sflow.sentences.prompts import PERTURBATION_PROMPT
from c2sflow.sentences.variants import without_type
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.training.cells import TrainingCells
from c2sflow.training.examples import Templates, labels_of
from c2sflow.training.options import TrainingOptions

OPTION_OF = {
    "cell_type": "annotation_prompt",
    "generation": "generation_prompt",
    "perturbation": "perturbation_prompt",
    "conversion": "perturbation_prompt",
    "tissue_generation": SEVERAL_PROMPT,
}
ANSWERED_BY_LABEL = {"cell_type", "tissue"}  # whose answers are no sentences


def trained_for(
    cells: TrainingCells, options: TrainingOptions, templates: Templates, base: Path | None
) -> Trained:
    """The record of the new model; of what is not trained here the base's record holds."""
    tasks, known = options.shares(), read_trained(base)
    labels = labels_of(cells.obs, options.label_column) if "cell_type" in tasks else ()
    makes_sentences = bool(set(tasks) - ANSWERED_BY_LABEL)
    learned = set(tasks) | set(known.tasks) if base is None or known.tasks else set()
    prompts = dict(known.prompts)
    for task in OPTION_OF.keys() & tasks.keys():
        prompts.pop(OPTION_OF[task], None)
        if own := own_wording(templates.for_task(task), task):
            prompts[OPTION_OF[task]] = own
    return Trained(
        max_answer_genes=options.max_answer_genes if makes_sentences else known.max_answer_genes,
        cell_types=tuple(sorted(set(labels) - {None})),
        family=options.scratch_family if base is None else known.family,
        max_genes=options.max_genes or known.max_genes,
        tasks=tuple(sorted(learned)),
        prompts=prompts,
        organism_words=known.organism_words,
    )


def own_wording(template: str, task: str) -> str | None:
    """The template, if it is not the built-in one.

    A text about the data set before a known wording is left out: it is not the next data set's.
    """
    first, *others = WORDINGS.get(task, (PERTURBATION_PROMPT,))
    firsts: tuple[str, ...] = (first, without_type(first))
    if task == "generation":
        others += [without_type(wording) for wording in others]
    if task == "tissue_generation":
        kinds = ("tissue", "cell_type", "")
        firsts = tuple(about(first, kind) for kind in kinds)
        others = [about(wording, kind) for wording in others for kind in kinds]
    if template.endswith(firsts):
        return None
    return next((wording for wording in others if template.endswith(wording)), template)
