"""Parameters that a model brings: what it was trained with, where the user has not chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from c2sflow.common.errors import Faults
from c2sflow.model.trained import (
    Trained,
    fitting_generation,
    published,
    read_trained,
    task_warnings,
)
from c2sflow.sentences.organism_words import words_line
from c2sflow.validation.generated_kind import asks_for_several, named_kind


def known_of_model(flat: Mapping, directory: Path | None) -> Trained:
    """What is known of the run's model before it is fetched; nothing of one that is broken.

    Parameters
    ----------
    flat
        Parameters by name.
    directory
        Of a local model.
    """
    if flat["finetune"] and flat["finetune_method"] == "scratch":
        return Trained()
    if directory is None:
        return published(flat["model"])
    with Faults().collect():  # the check of the model reports a broken record
        return read_trained(directory)
    return Trained()


def take_defaults(flat: dict, options: Mapping[str, dict], trained: Trained) -> list[str]:
    """Fill parameters that are not given, in `flat` and their group; lines for the log."""
    fitting = fitting_generation(trained.prompts, named_kind(flat), asks_for_several(flat))
    found: dict[str, int | str] = {**fitting}
    if flat["prompt_variant"] is not None:  # the user's choice of prompts
        found = {}
    if trained.max_genes:
        found["max_genes"] = trained.max_genes
    lines = []
    for name, value in found.items():
        own = flat[name]
        shown = value if isinstance(value, int) else "as it was trained with"
        if own is None:
            flat[name] = value
            for group in options.values():
                if name in group:
                    group[name] = value
            lines.append(f"--{name} {shown}: of --model {flat['model']}, which was trained so")
        elif own != value:
            lines.append(f"--{name}: as given; --model {flat['model']} was trained with {value}")
    if trained.organism_words:
        lines.append(
            f"prompts call {words_line(trained.organism_words)}: of --model {flat['model']}, which "
            "was trained so"
        )
    if trained.max_answer_genes and flat["max_answer_genes"] is None:
        lines.append(
            f"answers of at most {trained.max_answer_genes} genes: of --model {flat['model']}, "
            "which was trained so (--max_answer_genes changes it)"
        )
    return lines


def asked_tasks(flat: Mapping, predicts: bool) -> list[str]:
    """Options by which the model is asked for more than embeddings, mostly those of prompts."""
    asked = {
        "annotation_prompt": flat["annotate"],
        "generation_prompt": flat["generate"] and not flat["cells_per_answer"],
        "cells_per_answer": flat["generate"] and flat["cells_per_answer"],
        "perturbation_prompt": predicts,
        "interpretation_prompt": flat["cells_per_prompt"] and flat["interpret_groups"],
    }
    return [name for name, value in asked.items() if value]


def unfit_for(flat: Mapping, trained: Trained, predicts: bool) -> list[str]:
    """Warnings about tasks that the model was not trained for; none of one that is trained now."""
    if flat["finetune"]:
        return []
    return task_warnings(trained, asked_tasks(flat, predicts), str(flat["model"]))
