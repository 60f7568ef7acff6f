"""From the checked parameters to the options of each step.

Which steps take a parameter is recorded with the parameter: ``steps`` of its entry in
``nextflow_schema.json``. A step's task depends on its own options only, so that -resume runs again
what a parameter touches. What depends on several parameters is here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from c2sflow.data.obs.figure_cells import NOT_TEST
from c2sflow.inputs.labels import CELL, GROUP, labels_from_text, labels_to_text
from c2sflow.inputs.lists import names_types
from c2sflow.inputs.parameters import parameter_groups
from c2sflow.sentences.groups.drawing import SAMPLE
from c2sflow.sentences.variants import ALL
from c2sflow.validation.generated_kind import generates_several, trains

# Groups that hold no values of parameters: what MODEL checks the prompts for, the rule of splits.
NO_PARAMETERS = ("asked", "split")


def step_options(groups: Mapping[str, Mapping], schema: Mapping) -> dict[str, dict]:
    """Options of each step, and which of the steps that not every run has are asked for.

    Parameters
    ----------
    groups
        Checked parameters by group, as `c2sflow.validation.run.validate_run` returns them.
    schema
        ``nextflow_schema.json``.

    Returns
    -------
    step to (option to value), for ``options.json``; ``asked_for`` holds whether a step is part of
    the run, ``n_tasks`` how many tasks GENERATE has, and how many processes FINETUNE.
    """
    flat = _effective(
        {
            name: value
            for title, group in groups.items()
            if title not in NO_PARAMETERS
            for name, value in group.items()
        }
    )
    steps: dict[str, dict] = {}
    for group in parameter_groups(schema).values():
        for name, entry in group.items():
            for step in entry.get("steps", ()):
                steps.setdefault(step, {})[name] = flat.get(name)
    _add_derived(steps, flat, groups)
    asked_for = {
        "finetune": flat["finetune"],
        "choose": flat["attention_maps"],
        "groups": flat["cells_per_prompt"],
        "annotate": flat["annotate"] or _of_level(flat["labels"], CELL),
        "annotate_groups": flat["cells_per_prompt"] and _of_level(flat["labels"], GROUP),
        "interpret": flat["cells_per_prompt"] and flat["interpret_groups"],
        "plan": flat["perturbations"] or flat["perturbation_column"],
        "evaluate": flat["evaluate"],
        "text_scores": flat["evaluate"] and flat["text_encoder"],
        "benchmark": flat["benchmark"] and flat["evaluate"],
        "export": flat["export"],
    }
    steps["asked_for"] = {step: bool(value) for step, value in asked_for.items()}
    n_processes = 1 if flat["device"] == "cpu" else flat["gpus_per_task"]
    steps["n_tasks"] = {"generate": flat.get("tasks") or 0, "finetune": n_processes}
    return steps


def _effective(flat: Mapping) -> dict:
    """Parameters, with the effective value of those not given."""
    flat = dict(flat)
    flat["measured_column"] = flat["measured_column"] or flat["perturbation_column"]
    if flat["label_column"] != flat["measured_column"]:
        flat["context_column"] = flat["context_column"] or flat["label_column"]
    if flat["prompt_variant"] != ALL:
        flat["prompt_variant"] = None  # the prompts have the wording that was chosen
    if flat["finetune"]:
        # A model is scored on what it was not trained on.
        own, test = flat["training_cells"], NOT_TEST
        flat["training_cells"] = f"({own}) or {test}" if own else test
    return flat


def _add_derived(steps: dict[str, dict], flat: Mapping, groups: Mapping) -> None:
    """Options that are no parameters of that name."""
    asked = json.dumps(groups.get("asked") or {}, sort_keys=True)
    steps["model"]["prompts"] = asked
    steps["embed_groups"] = {**steps["embed"], "embedding_prompt": flat["group_prompt"]}
    own = {level: _of_level(flat["labels"], level) for level in (CELL, GROUP)}
    steps["annotate_groups"] = {**steps["annotate"], "labels": own[GROUP], "cell_types": None}
    steps["annotate"]["labels"] = own[CELL]
    steps["tuned_model"] = {**steps["model"], "model": tuned_name(flat)}
    steps["fetch_encoder"] = {
        "model": flat["text_encoder"], "model_revision": "main", "encoder": True,
    }  # fmt: skip
    if split := groups.get("split"):
        steps["qc"]["split"] = json.dumps(split, sort_keys=True)
        steps["finetune"]["split"] = steps["qc"]["split"]
        steps["evaluate"]["context_column"] = split.get("context_column")
    steps["finetune"]["perturbation_column"] = flat["measured_column"]
    _add_groups(steps["finetune"], flat)
    steps["generate"]["organisms"] = flat.get("organisms")
    if not names_types(flat["cell_types"]):
        steps["generate"]["cell_types"] = None
    asked_of_cells = labels_from_text(own[CELL])
    truths = {label.name: label.measured for label in asked_of_cells}
    truths = {name: column for name, column in sorted(truths.items()) if column}
    steps["evaluate"]["measured_labels"] = json.dumps(truths) if truths else None
    if not flat["evaluate"]:
        steps["plan"]["measured_column"] = None


def _add_groups(finetune: dict, flat: Mapping) -> None:
    """What concerns tasks of groups, where these are trained: else it is none of the training's."""
    asked = {name: trains(flat, name) for name in ("tissue", "tissue_generation")}
    if not asked["tissue"]:
        finetune["cells_per_prompt"] = None
    if not asked["tissue_generation"]:
        finetune["cells_per_answer"] = None
    if not any(asked.values()):
        finetune |= {"group_by": SAMPLE, "groups_across_samples": False, "tissue_column": None}
    finetune |= {name: flat.get(name) for name in ("cells_prompt", "tissue_prompt")}
    if generates_several(flat):  # whose prompt asks for several cells
        finetune["generation_prompt"] = flat.get("one_cell_prompt")
    elif not trains(flat, "generation"):
        finetune["generation_prompt"] = None


def _of_level(labels: str | None, level: str) -> str | None:
    """Those labels that are asked of cells, or of groups, for the option of a step."""
    own = [label for label in labels_from_text(labels) if label.level == level]
    return labels_to_text(own) if own else None


def tuned_name(flat: Mapping) -> str:
    """What the results call a fine-tuned model."""
    method = flat["finetune_method"]
    return "scratch" if method == "scratch" else f"{flat['model']} + {method}"
