"""Cells to examples: what the tasks may ask of them, and which control is in which prompt."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.obs.labels import is_control, is_labelled, is_perturbed
from c2sflow.data.obs.queries import select_cells
from c2sflow.sentences.groups.drawing import Grouping
from c2sflow.sentences.groups.prompts import NUM_CELLS
from c2sflow.sentences.prompts import check_fields
from c2sflow.training.cells import TrainingCells
from c2sflow.training.examples import Templates, labels_of
from c2sflow.training.groups import TrainingGroups, named_kind
from c2sflow.training.options import TrainingOptions
from c2sflow.training.pairing import Assignment, Pairing
from c2sflow.training.tasks import (
    NEEDS,
    OF_GROUPS,
    Epochs,
    label_weights,
    other_label,
    usable_cells,
)

LOGGER = logging.getLogger(__name__)

# Given cells and the rows of some, their coordinates: float32 (n_rows, n_dims).
Place = Callable[[TrainingCells, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Treated:
    """Which cells were perturbed, and which are their controls; bool (n_cells,)."""

    control: np.ndarray
    perturbed: np.ndarray


def check_columns(cells: TrainingCells, options: TrainingOptions, templates: Templates) -> None:
    """See that the tasks have the columns that they need.

    Raises
    ------
    UserError
        If an option is missing, or obs has no such column.
    """
    for task in options.shares():
        for need in NEEDS[task]:
            if getattr(options, need) is None:
                raise UserError(f"task {task} needs --{need}")
        more = {"generation": ["cell_type"], "tissue": [NUM_CELLS]}.get(task, [])
        columns = [*cells.obs.columns, *more]
        if task == "tissue_generation":  # cells to generate have no obs
            columns = [NUM_CELLS, named_kind(options.label_column, options.tissue_column)]
        check_fields(templates.for_task(task), columns, f"task {task}")
    for option in ("label_column", "perturbation_column", "replicate_column", "tissue_column"):
        column = getattr(options, option)
        if column is not None and column not in cells.obs:
            raise UserError(f"--{option} {column}: obs of the cells to train on has no such column")


def find_treated(obs: pd.DataFrame, options: TrainingOptions) -> Treated:
    """Control and perturbed cells, as the evaluation finds them."""
    labels = obs[options.perturbation_column]
    control = is_control(labels).to_numpy(copy=True)
    if options.control is not None:
        control |= select_cells(obs, options.control, "--control")
    return Treated(control, is_perturbed(labels).to_numpy(copy=True) & ~control)


def make_epochs(
    cells: TrainingCells,
    options: TrainingOptions,
    *,
    place: Place | None = None,
    most: int | None = None,
) -> tuple[Epochs | None, list[str]]:
    """The endless series of examples of some cells, and warnings about them.

    Parameters
    ----------
    place
        For pairing by assignment.
    most
        Examples of an epoch; None for no other limit than the cells.

    Returns
    -------
    None where no task has a cell; and warnings.
    """
    shares, obs = options.shares(), cells.obs
    warnings: list[str] = []
    sources: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {}
    perturbed = None
    if "perturbation" in shares:
        pairing, perturbed, warnings = _pairing(cells, options, place)
        sources["perturbation"] = pairing
    if "conversion" in shares:
        sources["conversion"] = other_label(
            obs[options.label_column], obs["organism"], obs[options.replicates]
        )
    rows = usable_cells(shares, obs, options.label_column, perturbed)
    groups = training_groups(cells.obs, options)
    warnings += [
        f"no cell for the task {task}" for task in shares if task not in {**rows, **groups}
    ]
    if not rows and not groups:
        return None, warnings
    weights = None
    if options.balance_labels and options.label_column:
        weights = label_weights(obs[options.label_column])
    if rows:
        n_examples = np.unique(np.concatenate(list(rows.values()))).size
    else:
        n_examples = sum(own.n_groups for own in groups.values())
    n_examples = min(most or n_examples, n_examples)
    return Epochs(rows, shares, sources, options.seed, weights, n_examples, groups), warnings


def training_groups(obs: pd.DataFrame, options: TrainingOptions) -> dict[str, TrainingGroups]:
    """The groups of each task of groups; without those that have none.

    Cells of a group are of one organism and tissue (or label, where no tissue is known), beside
    what --group_by asks for.
    """
    tissues = labels_of(obs, options.tissue_column)
    named = named_kind(options.label_column, options.tissue_column)
    alike = tissues if named == "tissue" else labels_of(obs, options.label_column)
    alike = np.where(pd.isna(alike), "", alike)  # cells of which nothing is known are asked for so
    made = {}
    for task in options.shares():
        if task in OF_GROUPS:
            several = options.cells_per_prompt if task == "tissue" else options.cells_per_answer
            grouping = Grouping(
                several or 1, options.group_by, options.groups_across_samples, options.seed,
                full=task == "tissue_generation",
            )  # fmt: skip
            shared = tissues if task == "tissue" else alike
            made[task] = TrainingGroups(obs, grouping, shared)
    return {task: groups for task, groups in made.items() if groups.n_groups}


def _pairing(
    cells: TrainingCells, options: TrainingOptions, place: Place | None
) -> tuple[Pairing, np.ndarray, list[str]]:
    """Controls, the cells to be asked for from one, and warnings about the others."""
    obs = cells.obs
    treated = find_treated(obs, options)
    strata, replicates = strata_of(obs, options), obs[options.replicates]
    pairing = Pairing(treated.control, strata, replicates)
    paired = treated.perturbed & pairing.has_control
    conditions = obs[options.perturbation_column]
    no_ops = no_op_cells(pairing.has_another, paired, conditions, options.seed)
    warnings = _pairing_warnings(treated.perturbed, pairing, options)
    if paired.any() and not no_ops.any():
        warnings.append(
            "no two control cells are alike in organism and label: the model does not learn what "
            "no perturbation is, and its answers to no-ops mean nothing (--no_op none)"
        )
    if place is not None and paired.any():
        known = np.flatnonzero(paired | treated.control)
        vectors = place(cells, known)
        spread = np.zeros((len(cells), vectors.shape[1]), dtype=np.float32)
        spread[known] = vectors
        pairing = Assignment(treated.control, strata, conditions, spread, replicates)
    return pairing, paired | no_ops, warnings


def no_op_cells(
    controls: np.ndarray, perturbed: np.ndarray, conditions: pd.Series, seed: int
) -> np.ndarray:
    """Control cells to be asked for, from other controls: so the model learns what a no-op is.

    They are one condition more, of as many cells as the others have on average. (With a quarter of
    that beside a single perturbation, the bundled model learnt it for the no-op, too.)

    Parameters
    ----------
    controls, perturbed
        bool (n_cells,): those that can be paired with a control.
    conditions
        (n_cells,): what was done to each cell.

    Returns
    -------
    bool (n_cells,)
    """
    chosen = np.zeros(controls.size, dtype=bool)
    n_perturbed = int(perturbed.sum())
    if n_perturbed:
        n_cells = math.ceil(n_perturbed / conditions[perturbed].astype(str).nunique())
        rows = np.flatnonzero(controls)
        rng = np.random.default_rng(seed)
        chosen[rng.choice(rows, min(n_cells, rows.size), replace=False)] = True
    return chosen


def strata_of(obs: pd.DataFrame, options: TrainingOptions) -> pd.Series:
    """What a control shares with a perturbed cell: organism and label; None without a label."""
    strata = obs["organism"].astype(str)
    # A label that is the perturbation itself is none that a control could share.
    if options.label_column in (None, options.perturbation_column):
        return strata
    labels = obs[options.label_column]
    return (strata + "\n" + labels.astype(str).str.strip()).where(is_labelled(labels), None)


def _pairing_warnings(
    perturbed: np.ndarray, pairing: Pairing, options: TrainingOptions
) -> list[str]:
    warnings = []
    if lost := int((perturbed & ~pairing.has_control).sum()):
        alike = "organism" if options.label_column is None else "label"
        warnings.append(f"{lost} perturbed cells have no control cell of their {alike}")
    if across := int((perturbed & pairing.across).sum()):
        column = options.replicates
        warnings.append(
            f"{across} of {int(perturbed.sum())} perturbed cells have no control cell of their "
            f"{column}: theirs are of others, and what differs between the groups of {column} is "
            "learned as if the perturbation caused it"
        )
    return warnings


def validation_shares(epochs: Epochs, tasks: Mapping[str, float]) -> dict[str, float]:
    """Weight of each task that has a validation example."""
    present = {task: tasks[task] for task, count in epochs.counts.items() if count}
    return {task: share / sum(present.values()) for task, share in present.items()}
