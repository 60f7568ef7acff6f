"""What a model was trained with, and can be asked. No torch here.

One form, two places: ``c2s_model.json`` beside the weights (FINETUNE writes it, and anyone may), or
for published models `c2sflow.model.published`, by Hugging Face id. The file goes first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_object, write_json
from c2sflow.model.published import PUBLISHED
from c2sflow.sentences.prompts import template_fields

RECORD = "c2s_model.json"
FORMER = "c2s_training.json"  # its name until November 2026
SOURCE = "c2s_source.json"  # of FETCH: the id that a folder was fetched by
ANSWER_GENES = 200  # of a model of which nothing records how many it was trained with
# Prompt of a record that asks for several cells at once: what generation_prompt is for one.
SEVERAL_PROMPT = "group_generation_prompt"
# What a model is asked beside embeddings, as users would put it.
TASKS = {
    "cell_type": "cell types (--annotate)",
    "generation": "cells to generate (--generate)",
    "perturbation": "perturbed cells (--perturbations)",
    "conversion": "cells of another type",
    "tissue": "the tissue of several cells",
    "tissue_generation": "several cells to generate at once (--cells_per_answer)",
    "interpretation": "a text about several cells",
}
ASKED_BY = {
    "annotation_prompt": "cell_type",
    "generation_prompt": "generation",
    "perturbation_prompt": "perturbation",
    "interpretation_prompt": "interpretation",
    "cells_per_answer": "tissue_generation",
}


@dataclass(frozen=True)
class Trained:
    """What is known of a model; None or empty for what is not.

    Attributes
    ----------
    max_answer_genes
        Genes of the longest answer that is a cell sentence.
    cell_types
        Labels that the task cell_type was trained on; empty without that task.
    family
        model_type of its config.json.
    max_genes
        Genes of a cell sentence in its prompts.
    tasks
        Those of `TASKS` that it was trained for.
    prompts
        Templates it was trained with, by option, such as annotation_prompt, where they are not the
        built-in ones; `SEVERAL_PROMPT` is generation_prompt of several cells an answer.
    organism_words
        What its prompts call organisms, by the names that VALIDATE has for them: "Homo sapiens" for
        "human"; empty where they have these names.
    """

    max_answer_genes: int | None = None
    cell_types: tuple[str, ...] = ()
    family: str | None = None
    max_genes: int | None = None
    tasks: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    organism_words: Mapping[str, str] = field(default_factory=dict, hash=False)

    def write(self, directory: Path) -> None:
        """Write what is known into a model's folder."""
        known = {name: value for name, value in asdict(self).items() if value}
        write_json(directory / RECORD, known)


def read_trained(directory: str | Path | None) -> Trained:
    """What is known of the model in a folder; nothing without a folder.

    Raises
    ------
    UserError
        If its record is broken.
    """
    if directory is None:
        return Trained()
    for name in (RECORD, FORMER):
        if (Path(directory) / name).is_file():
            content = read_object(directory, name)
            return _trained(content, f"model {directory}: {name} cannot be read: ")
    source = Path(directory) / SOURCE
    if not source.is_file():
        return Trained()
    return published(json.loads(source.read_text(encoding="utf-8")).get("id"))


def published(model: object) -> Trained:
    """What is known of a published model by its Hugging Face id; nothing of others."""
    return _trained(PUBLISHED.get(str(model), {}), f"{model}: ")


def _trained(content: Mapping, where: str) -> Trained:
    """The record, checked. `where` begins the message of a fault."""
    faults = []
    known = set(Trained.__dataclass_fields__)
    if unknown := sorted(set(content) - known):
        faults.append(f"{', '.join(unknown)} unknown (it may hold {', '.join(sorted(known))})")
    for name in ("max_answer_genes", "max_genes"):
        number = content.get(name)
        whole = isinstance(number, int) and not isinstance(number, bool) and number > 0
        if number is not None and not whole:
            faults.append(f"{name} must be a whole number above 0")
    for name in ("cell_types", "tasks"):
        if not _are_texts(content.get(name) or []):
            faults.append(f"{name} must be a list of texts")
    if not isinstance(content.get("family"), str | None):
        faults.append("family must be a text, the model_type of config.json")
    prompts = content.get("prompts") or {}
    if not isinstance(prompts, dict) or not _are_texts(list(prompts.values())):
        faults.append("prompts must be texts by option, such as annotation_prompt")
    elif odd := sorted(set(prompts) - {*ASKED_BY, "embedding_prompt", SEVERAL_PROMPT}):
        faults.append(f"prompts: no prompt {', '.join(odd)}")
    words = content.get("organism_words") or {}
    if not isinstance(words, dict) or not _are_texts(list(words.values())):
        faults.append("organism_words must be texts by organism, such as human")
    if not faults and (odd := sorted(set(content.get("tasks") or []) - set(TASKS))):
        faults.append(f"tasks: no task {', '.join(odd)}; there are {', '.join(TASKS)}")
    if faults:
        raise UserError(f"{where}{'; '.join(faults)}; mend it, or take the model's own")
    lists = {name: tuple(content.get(name) or ()) for name in ("cell_types", "tasks")}
    texts = {"prompts": dict(prompts), "organism_words": dict(words)}
    return Trained(**{**content, **lists, **texts})


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def task_warnings(trained: Trained, asked: Iterable[str], model: str) -> list[str]:
    """A warning for each task that a model is asked and was not trained for, as far as is known.

    Parameters
    ----------
    asked
        Options of the prompts that it is asked with, such as annotation_prompt.
    model
        As the user calls it.
    """
    if not trained.tasks:
        return []
    own = " and ".join(trained.tasks)
    return [
        f"--model {model} is asked for {TASKS[ASKED_BY[name]]}, and was trained for {own}: what "
        "it answers is no prediction; take a model of that task, or train it (--finetune)"
        for name in asked
        if name in ASKED_BY and ASKED_BY[name] not in trained.tasks
    ]


def fitting_generation(
    prompts: Mapping[str, str], names: str, several: bool = False
) -> dict[str, str]:
    """A model's prompts without that of generation where it names cell types and the user none.

    Or reversely.

    Parameters
    ----------
    names
        What the user names: "cell_type", "tissue" or "".
    several
        The prompt of generation is to be that of several cells an answer.
    """
    found = dict(prompts)
    of_several = found.pop(SEVERAL_PROMPT, None)
    template = of_several if several else found.get("generation_prompt")
    found.pop("generation_prompt", None)
    if template and {"cell_type", "tissue"} & {*template_fields(template)} == {names} - {""}:
        found["generation_prompt"] = template
    return found


def answer_genes(directory: str | Path | None, asked: int | None = None) -> int:
    """Genes of the longest answer: as asked for, else the model's own, else `ANSWER_GENES`."""
    return asked or read_trained(directory).max_answer_genes or ANSWER_GENES
