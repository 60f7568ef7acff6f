"""What the parameters ask to train, and those of them that do not go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from c2sflow.common.errors import Faults, UserError
from c2sflow.data.obs.shard_columns import RESERVED
from c2sflow.data.splits.group_rule import BY_CELL
from c2sflow.data.splits.splits import Rule
from c2sflow.data.splits.state_form import StateForm, read_state_form
from c2sflow.sentences.groups.drawing import NEIGHBOURS
from c2sflow.training.tasks import OF_GROUPS, parse_tasks
from c2sflow.validation.leaks import Leaks
from c2sflow.validation.training import Training


def training_of(
    flat: Mapping, predicts: bool, faults: Faults, splits_file: Path | None = None
) -> Training | None:
    """What the parameters (name to value) ask to train; None for nothing, or nonsense.

    `splits_file` is the file of --splits, if it is there.
    """
    if not isinstance(flat["finetune"], str):
        return None
    n_faults = len(faults)
    with faults.collect("--finetune: "):
        tasks = parse_tasks(flat["finetune"])
        measured = flat["measured_column"] or flat["perturbation_column"]
        faults += _option_faults(flat, tasks, measured)
    with faults.collect():
        state = _state_form(flat.get("splits"), splits_file)
    if len(faults) > n_faults:
        return None
    own = state.own if state else {}
    label_column = flat["label_column"]
    context = flat.get("context_column") or own.get("context_column")
    if context is None and label_column != measured:
        context = label_column
    rule = Rule(
        by=flat["split_by"],
        column=flat["split_column"],
        held_out=own.get("held_out", flat["held_out"]),
        validation=own.get("validation", flat["validation"]),
        seed=own.get("seed", flat["seed"]),
        perturbation_column=measured,
        control=flat["control"],
        combinations=flat.get("hold_out_combinations", True),
        hold_out=flat.get("hold_out"),
        context_column=context,
        state=state,
        few_shot=flat.get("few_shot"),
    )
    if state and (context is None or measured is None):
        faults.append(
            "--splits: name the columns of obs that its contexts and perturbations are of: "
            "--context_column (or --label_column) and --measured_column (or --perturbation_column)"
        )
        return None
    leaks = Leaks(flat.get("pool_column"))
    tissues = flat["tissue_column"] if OF_GROUPS & tasks.keys() else None
    return Training(tasks, rule, label_column, predicts, leaks=leaks, tissue_column=tissues)


def _state_form(given: object, file: Path | None) -> StateForm | None:
    if not isinstance(given, str):
        return None
    if file is None:
        raise UserError(f"--splits {given}: no such file")
    return read_state_form(file)


def _option_faults(flat: Mapping, tasks: Mapping, measured: str | None) -> Iterator[str]:
    """Parameters that do not go together."""
    for task in ("cell_type", "conversion"):
        if task in tasks and flat["label_column"] is None:
            yield f"--finetune {task}: name the column of obs with the labels: --label_column"
    if "tissue" in tasks and flat["tissue_column"] is None:
        yield "--finetune tissue: name the column of obs with the tissues: --tissue_column"
    of_groups = {"tissue": "cells_per_prompt", "tissue_generation": "cells_per_answer"}
    for task, option in of_groups.items():
        if task in tasks and flat[option] is None:
            yield f"--finetune {task}: give the number of cells together: --{option}"
    if flat["group_by"] == NEIGHBOURS and of_groups.keys() & tasks.keys():
        yield (
            f"--group_by {NEIGHBOURS}: --finetune {' and '.join(of_groups.keys() & tasks.keys())} "
            "draws groups by sample or by a column of obs; give one"
        )
    if "perturbation" in tasks and measured is None:
        yield (
            "--finetune perturbation: name the column of obs with the measured perturbation "
            "(--measured_column, or --perturbation_column to predict it, too)"
        )
    if flat["perturbation_column"] and not flat["perturbations"] and flat["control"] is None:
        yield (
            "--finetune with --perturbation_column: name the control cells, of which the held-out "
            "ones are predicted: --control"
        )
    if flat["held_out"] + flat["validation"] >= 0.9:
        shares = f"--held_out {flat['held_out']}, --validation {flat['validation']}"
        yield f"{shares}: leave more to train"
    if flat["pseudobulk"]:
        yield "--finetune and --pseudobulk: sum the cells in a run of their own, and train on those"
    if flat["dtype"] == "float16":
        yield "--dtype float16: gradients underflow in it; fine-tune in bfloat16 or float32"
    ways = [name for name in ("split_column", "hold_out", "splits") if flat.get(name) is not None]
    ways += ["split_by"] if flat["split_by"] != BY_CELL else []
    if len(set(ways) - {"split_by"}) > 1 or {"hold_out", "split_by"} <= {*ways}:
        names = " and ".join(f"--{name}" for name in ways)
        yield f"{names} each decide which cells are held out; give one of them"
    few = flat.get("few_shot")
    if isinstance(few, float) and few > 1 and few != int(few):
        yield f"--few_shot {few}: give a share below 1, or a whole number of cells"
    for option in ("split_by", "split_column", "context_column", "pool_column", "tissue_column"):
        if flat.get(option) in RESERVED:
            yield f"--{option} {flat[option]} is a name of c2sflow's own; copy the column"
