"""The labels of a run, checked: the file, its prompts, and the columns with the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from c2sflow.common.errors import Faults
from c2sflow.data.obs.shard_columns import RESERVED
from c2sflow.inputs.label_files import read_labels
from c2sflow.inputs.labels import CELL_TYPE, GROUP, Label, asked_labels, labels_to_text
from c2sflow.model.trained import Trained
from c2sflow.sentences.groups.prompts import GROUP_PROMPT
from c2sflow.sentences.label_prompts import label_template
from c2sflow.sentences.prompts import with_context
from c2sflow.validation.inputs_staged import Staged
from c2sflow.validation.obs_columns import Targets

TISSUE = "tissue"


def read_asked(
    flat: dict, options: Mapping[str, dict], staged: Staged, faults: Faults
) -> list[Label]:
    """What ANNOTATE is asked for by --annotate and --labels; nothing without either.

    An entry for the cell type is --annotate: in `flat` and `options` it is set.
    """
    listed: list[Label] = []
    if isinstance(flat["labels"], str):
        if staged.labels_file is None:
            faults.append(f"--labels {flat['labels']}: no such file")
        else:
            listed, wrong = read_labels(staged.labels_file, staged.vocabularies)
            faults += wrong
    if any(label.name == CELL_TYPE for label in listed):
        flat["annotate"] = options["annotation"]["annotate"] = True
    return asked_labels(bool(flat["annotate"]), listed)


def prompt_name(label: Label) -> str:
    """How messages name the prompt of a label: as an option, without the dashes."""
    return f"labels ({label.name})"


def add_labels(targets: Targets, labels: Sequence[Label], flat: Mapping, faults: Faults) -> None:
    """Have the labels' prompts and columns checked against every sample."""
    context = flat["dataset_context"] if isinstance(flat["dataset_context"], str) else None
    columns = {name for label in labels for name in label.columns}
    for label in labels:
        where = f"--labels ({label.name})"
        if label.level == GROUP and not flat.get("cells_per_prompt"):
            faults.append(f"{where}: level group asks about groups; set --cells_per_prompt")
        if label.level == GROUP and label.measured:
            faults.append(
                f"{where}: measured is compared cell by cell; leave it out of a label of groups"
            )
        if label.measured in RESERVED or label.measured in columns:
            faults.append(
                f"{where}: measured {label.measured} is a name of c2sflow's own; copy the column "
                "to another name"
            )
        else:
            targets.labels.append(label)
        if label.name == CELL_TYPE and label.prompt is None and label.level != GROUP:
            continue  # --annotation_prompt asks for it
        with faults.collect(f"{where}: "):
            template = with_context(label_template(label), context)
            targets.prompts[prompt_name(label)] = template


def tissue_prompt(labels: Sequence[Label], flat: Mapping) -> str | None:
    """What asks for the tissue of a group, to train it; None for the built-in prompt."""
    asked = [label for label in labels if (label.name, label.level) == (TISSUE, GROUP)]
    template = label_template((asked or [Label(TISSUE, level=GROUP)])[0])
    template = with_context(template, flat["dataset_context"])
    return None if template == GROUP_PROMPT else template


def text_of(labels: Sequence[Label], targets: Targets) -> str:
    """The labels with the texts of their prompts, for the options of a step."""
    return labels_to_text(
        replace(label, prompt=targets.prompts.get(prompt_name(label), label.prompt))
        for label in labels
    )


def untrained_labels(labels: Sequence[Label], trained: Trained, model: str) -> list[str]:
    """A warning about labels that a model was not trained for, as far as its tasks are known."""
    names = [label.name for label in labels if label.name not in trained.tasks]
    if not names or not trained.tasks:
        return []
    return [
        f"--labels: --model {model} was trained for {' and '.join(trained.tasks)}, and not for "
        f"{' and '.join(names)}: judge these by cells whose labels you know (measured)"
    ]
