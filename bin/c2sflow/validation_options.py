"""What parameters ask for together, checked without looking at a cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from c2sflow.adapters import has_adapter, read_adapter
from c2sflow.cell_types import read_cell_types
from c2sflow.errors import UserError
from c2sflow.faults import Faults
from c2sflow.generation_plan import GenerationPlan, generation_faults
from c2sflow.json_files import read_object
from c2sflow.model_files import HUB_ID, file_faults
from c2sflow.prompts import ANSWER_TOKENS
from c2sflow.shard_columns import RESERVED
from c2sflow.staged import Staged
from c2sflow.targets import Targets
from c2sflow.weight_files import base_weights


def check_generation(flat: Mapping, targets: Targets, faults: Faults) -> None:
    """Check that generated cells can differ, and that their embeddings' prompt can be filled."""
    if not isinstance(flat["generate"], int):
        return
    prompt = targets.prompts.get("embedding_prompt", "")
    with faults.collect():
        faults += generation_faults(flat["generate"], flat["temperature"], prompt)


def generation_plan(flat: Mapping, targets: Targets, labels: list[str]) -> GenerationPlan | None:
    """What --generate makes, as far as the parameters are sound."""
    if not isinstance(flat["generate"], int) or not targets.organisms:
        return None
    organisms = "\n".join(sorted(targets.organisms))
    size = flat["shard_size"]
    size = size if isinstance(size, int) and size > 0 else "auto"
    return GenerationPlan.of(flat["generate"], organisms, "\n".join(labels), size)


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


def given_cell_types(flat: Mapping, staged: Staged, faults: Faults) -> list[str]:
    """The labels that an annotation chooses from, or that cells are generated of, if any."""
    given = flat["cell_types"]
    if not (flat["annotate"] or flat["generate"]) or not isinstance(given, str):
        return []
    with faults.collect():
        if not staged.cell_types_file and re.fullmatch(r"[^,]+\.(csv|tsv|txt)", given.strip()):
            raise UserError(f"--cell_types {given}: no such file")
        return read_cell_types(given, staged.cell_types_file, 2 if flat["annotate"] else 1)
    return []


def check_model(flat: Mapping, directory: Path | None, faults: Faults) -> list[str]:
    """Check a local model; a Hugging Face id is only looked at. Lines for the log."""
    model, base, said = str(flat["model"]), flat["base_model"], []
    if flat["finetune"] and flat["finetune_method"] == "scratch":
        return []
    adapted = directory is not None and has_adapter(directory)
    if base is not None and not adapted:
        said.append(f"--base_model {base}: no effect, for --model {model} is no adapter")
    if directory is None:
        if model == "demo" or not HUB_ID.fullmatch(model):
            faults.append(
                f"--model {model}: no such directory, and no Hugging Face id (such as "
                "vandijklab/C2S-Scale-Gemma-2-2B)"
            )
        return said
    if flat["finetune"] and adapted:
        faults.append(
            f"--model {model}: an adapter, and --finetune begins with a whole model; "
            "--merge_adapter writes one"
        )
    if adapted and not base_weights(directory):
        try:
            adapter = read_adapter(directory)
            _check_base(base or adapter.get("base_model_name_or_path"))
        except UserError as error:
            faults.append(_named(str(error), directory, f"--model {model}"))
        return said
    wrong = file_faults(directory)
    faults += [_named(fault, directory, f"--model {model}") for fault in wrong]
    if wrong:
        return said
    config = read_object(directory, "config.json")
    if config.get("model_type") != "gemma2":
        said.append(
            f"model {model}: a {config.get('model_type')} model; c2sflow is made for Gemma-2"
        )
    return said


def _check_base(base: object) -> None:
    """Look at the base of an adapter, which is in no directory here."""
    if not isinstance(base, str) or not HUB_ID.fullmatch(base):
        raise UserError(
            f"--base_model {base}: the base of the adapter is no directory here that holds a whole "
            "model, and no Hugging Face id; name it"
        )


def asked_of_model(flat: Mapping, targets: Targets, labels: list[str]) -> dict[str, dict]:
    """What the model is asked, as MODEL takes it: by option, see `c2sflow.model_prompts.Asked`."""
    asked = {name: {"template": text} for name, text in targets.prompts.items()}
    if targets.wanted:
        asked["perturbation_prompt"]["n_tokens"] = flat["max_new_tokens"]
    if flat["generate"]:
        asked["generation_prompt"]["n_tokens"] = flat["max_new_tokens"]
    if flat["annotate"]:
        answer = {"labels": labels} if labels else {"n_tokens": ANSWER_TOKENS}
        asked["annotation_prompt"] |= answer
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
