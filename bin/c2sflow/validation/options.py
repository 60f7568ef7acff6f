"""Checks of options that go together, and the plan that VALIDATE reports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from c2sflow.common.errors import Faults, UserError
from c2sflow.common.statistics import MIN_UNITS
from c2sflow.data.obs.shard_columns import RESERVED
from c2sflow.generation.plan import GenerationPlan
from c2sflow.inputs.labels import GROUP
from c2sflow.model.adapters import has_adapter, read_adapter
from c2sflow.model.files import HUB_ID, file_faults
from c2sflow.model.trained import read_trained
from c2sflow.model.weights import base_weights
from c2sflow.sentences.prompts import ANSWER_TOKENS
from c2sflow.sentences.variants import ALL
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.validation.generated_kind import asks_for_several, trains
from c2sflow.validation.generation import generation_line
from c2sflow.validation.groups import group_lines
from c2sflow.validation.obs_columns import CELLS_PROMPT, Targets


def check_attention(flat: Mapping, faults: Faults) -> None:
    """Check that there is a layer to look into, and a column to choose cells by."""
    if flat["attention_maps"] and flat["embedding_layer"] == 0:
        faults.append(
            "--attention_maps: --embedding_layer 0 is the token embeddings, which no attention "
            "made; choose another layer"
        )
    if flat["attention_maps"] and flat["label_column"] in RESERVED:
        faults.append(
            f"--attention_maps: --label_column {flat['label_column']} is a name of c2sflow's own; "
            "copy the column to another name"
        )


def labels_line(flat: Mapping, directory: Path | None) -> list[str]:
    """Where the labels of an annotation come from without --cell_types, for the log."""
    if not flat["annotate"] or flat["cell_types"]:
        return []
    free = "(--cell_types none: free answers)"
    if flat["finetune"] and re.search(r"\bcell_type\b", str(flat["finetune"])):
        return [
            f"annotation: a choice among the labels of {flat['label_column']} trained on {free}"
        ]
    # That the file can be read, the check of the model reports.
    with Faults().collect():
        if directory is not None and (labels := read_trained(directory).cell_types):
            model = f"--model {flat['model']}"
            return [f"annotation: a choice among the {len(labels)} labels of {model} {free}"]
    return []


def check_model(flat: Mapping, directory: Path | None, faults: Faults) -> list[str]:
    """Check a local model; a Hugging Face id is only looked at. Lines for the log."""
    model, base, notes = str(flat["model"]), flat["base_model"], []
    if flat["finetune"] and flat["finetune_method"] == "scratch":
        return []
    adapted = directory is not None and has_adapter(directory)
    if base is not None and not adapted:
        notes.append(f"--base_model {base}: no effect, for --model {model} is no adapter")
    if directory is None:
        if model == "demo" or not HUB_ID.fullmatch(model):
            faults.append(
                f"--model {model}: no such directory, and no Hugging Face id (such as "
                "vandijklab/C2S-Scale-Gemma-2-2B)"
            )
        return notes
    if flat["finetune"] and adapted:
        faults.append(
            f"--model {model}: an adapter, but --finetune needs a whole model; "
            "write one with --merge_adapter"
        )
    if adapted and not base_weights(directory):
        try:
            adapter = read_adapter(directory)
            _check_base(base or adapter.get("base_model_name_or_path"))
        except UserError as error:
            faults.append(_named(str(error), directory, f"--model {model}"))
        return notes
    wrong = file_faults(directory)
    faults += [_named(fault, directory, f"--model {model}") for fault in wrong]
    return notes


def _check_base(base: object) -> None:
    """Look at the base of an adapter, which is in no directory here."""
    if not isinstance(base, str) or not HUB_ID.fullmatch(base):
        raise UserError(
            f"--base_model {base}: the base of the adapter is no directory here that holds a whole "
            "model, and no Hugging Face id; name it"
        )


def asked_of_model(flat: Mapping, targets: Targets, labels: list[str]) -> dict[str, dict]:
    """What the model is asked, by option, as `c2sflow.model.prompt_room.Asked` takes it."""
    asked: dict[str, dict[str, object]] = {
        name: {"template": text} for name, text in targets.prompts.items()
    }
    answer = {"n_genes": flat["max_answer_genes"] or 0}
    if flat["max_new_tokens"]:
        answer = {"n_tokens": flat["max_new_tokens"]}
    several = {"n_cells": flat["cells_per_prompt"] or 1, "max_genes": flat["max_genes"]}
    if targets.grouping:
        asked["group_prompt"] |= several
    if "interpretation_prompt" in asked:
        asked["interpretation_prompt"] |= {**several, "n_tokens": flat["interpretation_tokens"]}
    if targets.wanted:
        asked["perturbation_prompt"] |= answer
    together = flat["cells_per_answer"] or 1
    of_each = {"answer_cells": together, "max_genes": flat["max_answer_genes"]}
    if CELLS_PROMPT in asked:
        asked[CELLS_PROMPT] |= of_each
    if flat["generate"]:
        asked["generation_prompt"] |= answer if together == 1 else of_each
    if flat["annotate"] and "annotation_prompt" in asked:
        asked["annotation_prompt"] |= {"labels": labels} if labels else {"n_tokens": ANSWER_TOKENS}
    for label in targets.labels:
        if (name := f"labels ({label.name})") in asked:
            own = list(label.candidates)
            asked[name] |= {"labels": own} if own else {"n_tokens": ANSWER_TOKENS}
            asked[name] |= several if label.level == GROUP else {}
    return asked


def check_encoder(encoder: str | None, directory: Path | None, faults: Faults) -> None:
    """Check a local text encoder; a Hugging Face id is only looked at."""
    if not isinstance(encoder, str):
        return
    if directory is None and not HUB_ID.fullmatch(encoder):
        faults.append(f"--text_encoder {encoder}: no such directory, and no Hugging Face id")
    if directory is not None:
        wrong = file_faults(directory, encoder=True)
        faults += [_named(fault, directory, f"--text_encoder {encoder}") for fault in wrong]


def _named(fault: str, directory: Path, option: str) -> str:
    """A fault of a model by the name that the user gave it, not by the folder of the task."""
    return fault.replace(f"model {directory}:", f"{option}:")


def check_size(
    flat: Mapping, targets: Targets, plan: GenerationPlan | None, faults: Faults
) -> None:
    """The limit holds for what is planned before QC: a run of days is refused in seconds."""
    n = targets.n_predictions(flat["max_cells_per_perturbation"]) * flat["num_samples"]
    parts = ["cells before QC x perturbations x answers"] if n else []
    fewer = ["--max_cells_per_perturbation"] if n else []
    if n_no_ops := targets.n_no_ops(flat["max_cells_per_perturbation"]) * flat["num_samples"]:
        n += n_no_ops
        parts.append(f"{n_no_ops} of --no_op")
        fewer.append("--no_op none")
    if plan:
        n += plan.n_cells
        parts.append(f"{plan.n_cells} of --generate")
        fewer.append("--generate")
    if n > flat["max_predictions"]:
        faults.append(
            f"--max_predictions {flat['max_predictions']}: the run would predict {n} cells "
            f"({' + '.join(parts)}); take fewer with {' or '.join(fewer)}, "
            f"or allow it with --max_predictions {n}"
        )


def all_wordings_line(flat: Mapping) -> str:
    """What every wording of the prompts takes, for the log."""
    n = len(WORDINGS["cell_type"])
    steps = "embeddings and cell types" if flat["annotate"] else "embeddings"
    return (
        f"plan: --prompt_variant all: {n} prompts a cell, {n} times the tokens and the time of one "
        f"wording for {steps}, and the memory of one more set of embeddings"
    )


def plan_lines(
    samples: list[dict], targets: Targets, flat: Mapping, generation: GenerationPlan | None
) -> list[str]:
    """What the run is going to do, for the log."""
    n_cells = sum(sample["n_obs"] for sample in samples)
    size = flat["shard_size"]
    row = "cell" if all(s["input_kind"] == "cells" for s in samples) else "row"
    row = "row" if flat["pseudobulk"] else row
    counts = {"sample": len(samples), row: n_cells}
    if size != "auto":  # by the genes that QC keeps, which nobody knows yet
        counts["shard"] = sum(-(-sample["n_obs"] // size) for sample in samples)
    many = ", ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in counts.items())
    limit = "" if size == "auto" else f" of at most {size} {row}s"
    lines = [f"plan: {many}{limit}"]
    lines += group_lines(flat, n_cells)
    if flat["prompt_variant"] == ALL:
        lines.append(all_wordings_line(flat))
    if flat["attention_maps"]:
        n_maps = min(n_cells, flat["attention_maps"])
        lines.append(f"plan: attention maps of at most {n_maps} cells")
    unused = []
    if not flat["finetune"]:
        names = ["split_column", "max_steps", "checkpoint_dir", "tissue_column"]
        unused.append((names, "without --finetune"))
    elif not (trains(flat, "tissue") or trains(flat, "tissue_generation")):
        unused.append((["tissue_column"], "without --finetune tissue or tissue_generation"))
    if all(s["input_kind"] == "bulk" for s in samples):
        unused.append((["pseudobulk"], "with bulk samples only"))
    if generation:
        lines.append(generation_line(generation))
    else:
        several = ["cells_per_answer"] * (not asks_for_several(flat))
        unused.append(([*several, "tissues"], "without --generate"))
        if not flat["finetune"]:
            unused.append((["generation_prompt"], "without --generate or --finetune"))
    if not (flat["annotate"] or flat["labels"]):
        unused.append((["min_probability"], "without --annotate or --labels"))
    if not flat["annotate"]:
        if not flat["finetune"]:
            unused.append((["annotation_prompt"], "without --annotate"))
        if not generation:
            unused.append((["cell_types"], "without --annotate or --generate"))
    if not flat["evaluate"]:
        names = ["measured_column", "evaluation_key", "batch_column"]
        names = names[1:] if flat["finetune"] else names
        if not (targets.wanted or flat["label_column"]):  # which the report judges
            names.append("training_cells")
        unused.append((names, "without --evaluate"))
    elif not flat["label_column"]:
        unused.append((["batch_column"], "without --label_column"))
    judges_types = flat["annotate"] and flat["label_column"]
    predicted = targets.wanted and (flat["measured_column"] or flat["perturbation_column"])
    if not flat["evaluate"]:
        unused.append((["text_encoder"], "without --evaluate"))
    elif not (judges_types or predicted):
        why = "without --annotate and --label_column, or predictions and --measured_column"
        unused.append((["text_encoder"], why))
    if targets.wanted:
        n_predictions = targets.n_predictions(flat["max_cells_per_perturbation"])
        n_predictions *= flat["num_samples"]
        lines.append(f"plan: at most {n_predictions} perturbed cells to predict")
        if n_no_ops := targets.n_no_ops(flat["max_cells_per_perturbation"]) * flat["num_samples"]:
            lines.append(
                f"plan: at most {n_no_ops} answers to no-ops, to compare with (--no_op none: none)"
            )
        if names := targets.without_no_op():
            lines.append(
                f"{names[0]}: no no-op to compare with, and no p-values, since nothing gives the "
                "cells' own types: name their column with --label_column"
            )
        n_replicates = len(targets.replicates)
        if targets.replicate_column and n_replicates < MIN_UNITS:
            lines.append(
                f"--replicate_column {targets.replicate_column}: {n_replicates} in the cells to "
                f"perturb: with fewer than {MIN_UNITS} there are no intervals, ranks or p-values "
                "over them"
            )
        lines += [*targets.alike(), *targets.unmeasured()]
        if flat["perturbations"]:
            unused.append((["perturbation_column"], "with --perturbations"))
        if not flat["gene_sets"]:
            unused.append((["context"], "without --gene_sets"))
        elif flat["context"] and len(targets.contexts) < 2:
            lines.append(f"--context {flat['context']}: one value only, nothing to compare")
    else:
        names = ["max_cells_per_perturbation"] + ["gene_vocabulary"] * (not generation)
        if not flat["finetune"]:
            names = ["control", *names, "perturbation_prompt", "measured_column"]
            names.append("replicate_column")
        unused.append(
            ([*names, "gene_sets", "context"], "without --perturbations or --perturbation_column")
        )
    for names, why in unused:
        given = ", ".join(f"--{name}" for name in names if flat[name] is not None)
        if given:
            lines.append(f"{given}: no effect {why}")
    return lines
