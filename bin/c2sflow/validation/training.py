"""What a run trains its model on, checked against every sample before it starts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from c2sflow.common.errors import Faults
from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.obs.held_values import HeldValues
from c2sflow.data.obs.labels import is_control, is_labelled, is_perturbed, where_known
from c2sflow.data.obs.queries import query_columns, select_cells
from c2sflow.data.obs.shard_columns import RESERVED
from c2sflow.data.splits.splits import BY_CELL, SPLITS, TEST, TRAIN, VALIDATION, Rule
from c2sflow.training.tasks import parse_tasks

MAX_RULE = 100_000  # characters: the rule is handed on as one word of a command
CELLS, CONTROL, PERTURBED, SOURCE, LABEL = "cells", "control", "perturbed", "source", "label: "


@dataclass
class Training:
    """Tasks and splits of a run that trains, and what the samples hold of them.

    Attributes
    ----------
    tasks
        Share of each task.
    rule
        How cells are split; `check` fills its groups.
    predicts
        Whether the run predicts perturbations, too: of the held-out control cells.
    of_groups, of_splits
        Cells of each group, or of each split if they are split one by one, and kind.
    held_out
        Share of the cells to predict that `check` finds to be held out.
    """

    tasks: Mapping[str, float]
    rule: Rule
    label_column: str | None = None
    predicts: bool = False
    group_sizes: Counter[tuple[str, str]] = field(default_factory=Counter)
    split_sizes: Counter[tuple[str, str]] = field(default_factory=Counter)
    held_out: float = 1.0
    failed: bool = False
    held: HeldValues = field(default_factory=HeldValues)  # of the columns that tasks and splits use

    @property
    def strata(self) -> str | None:
        """Column of obs, beside the organism, in which a perturbed cell and its control agree."""
        own = self.label_column != self.rule.perturbation_column
        return self.label_column if own else None

    def _organism_and(self, obs: pd.DataFrame, column: str | None) -> pd.Series:
        """Organism of each cell, and its value in a column; None where it has none."""
        name = ORGANISM if ORGANISM in obs else "organism"
        texts = obs[name].astype(str) if name in obs else pd.Series("", obs.index)
        if column not in obs:
            return texts
        labels = obs[column]
        texts = texts + "\n" + labels.astype(str).str.strip()
        return texts.where(is_labelled(labels), None)

    def look_at(self, obs: pd.DataFrame, where: str, faults: Faults) -> None:
        """Count the cells of one sample."""
        n_faults = len(faults)
        with faults.collect(f"{where}: "):
            self._count(obs)
        self.failed |= len(faults) > n_faults

    def _columns(self) -> list[str]:
        """Columns of obs that tasks and splits use."""
        own = None if self.rule.by == BY_CELL else self.rule.by
        names = [self.rule.column or own, self.label_column, self.rule.perturbation_column]
        return [name for name in dict.fromkeys([*names, *self._of_control]) if name is not None]

    @property
    def _of_control(self) -> list[str]:
        return query_columns(self.rule.control, "--control") if self.rule.control else []

    def _count(self, obs: pd.DataFrame) -> None:
        self.held.add(obs[[name for name in self._columns() if name in obs]])
        splits = pd.Series(self.rule.apply(obs), obs.index)
        groups = pd.Series(None, obs.index, dtype=object)
        if self.rule.by_group:
            groups = self.rule.group_labels(obs)
        places = ((groups, self.group_sizes), (splits[groups.isna()], self.split_sizes))
        for kind in self._kinds(obs):
            for keys, counter in places:
                pairs = pd.DataFrame({"key": keys, "kind": kind}).dropna()
                for pair, n in pairs.value_counts().items():
                    counter[pair] += int(n)

    def _kinds(self, obs: pd.DataFrame) -> Iterator[pd.Series]:
        """What each cell counts as, in one respect after the other; None for nothing."""
        yield pd.Series(CELLS, obs.index)
        chosen = select_cells(obs, self.rule.control, "--control")
        yield pd.Series(where_known(chosen, SOURCE), obs.index)
        if self.label_column in obs:
            yield LABEL + self._organism_and(obs, self.label_column)
        if self.rule.perturbation_column in obs:
            labels = obs[self.rule.perturbation_column]
            controls = is_control(labels).to_numpy(copy=True)
            if self.rule.control is not None:
                controls |= chosen
            perturbed = where_known(is_perturbed(labels), PERTURBED)
            roles = pd.Series(np.where(controls, CONTROL, perturbed), obs.index)
            yield roles
            yield self._organism_and(obs, self.strata) + "\n" + roles

    def check(self, faults: Faults) -> list[str]:
        """Faults that only all samples together show; lines for the log."""
        if self.failed:
            return []
        counts = Counter(self.split_sizes)
        if self.rule.by_group:
            sizes = {name: n for (name, kind), n in self.group_sizes.items() if kind == CELLS}
            n_faults = len(faults)
            with faults.collect(f"--split_by {self.rule.by}: "):
                self.rule = self.rule.with_groups(sizes)
            if len(faults) > n_faults:
                return []
            for (name, kind), n in self.group_sizes.items():
                counts[self.rule.split_of(name), kind] += n
        faults += self._faults(counts)
        self.held_out = counts[TEST, SOURCE] / max(1, sum(counts[name, SOURCE] for name in SPLITS))
        return self._plan(counts)

    def _faults(self, counts: Counter[tuple[str, str]]) -> Iterator[str]:
        empty = [name for name in self.rule.needed if not counts[name, CELLS]]
        if empty:
            how = self.rule.column or self.rule.by
            yield (
                f"--finetune: no cell is for {' or '.join(empty)} (split by {how})"
                + self.held.offer(how)
            )
            return
        for split in (name for name in SPLITS[:2] if counts[name, CELLS]):
            labels = [kind for name, kind in counts if name == split and kind.startswith(LABEL)]
            organisms = Counter(kind.removeprefix(LABEL).split("\n")[0] for kind in labels)
            most = max(organisms.values(), default=0)  # labels of one organism
            needed = {"cell_type": 1, "conversion": 2}
            for task in self.tasks:
                if most < needed.get(task, 0):
                    many = "two labels of one organism" if needed[task] == 2 else "a label"
                    yield (
                        f"--finetune {task}: the {split} cells do not have {many} in "
                        f"--label_column {self.label_column}" + self.held.offer(self.label_column)
                    )
        if "perturbation" in self.tasks:
            yield from self._pair_faults({kind for name, kind in counts if name == TRAIN})
        if self.predicts and not counts[TEST, SOURCE]:
            yield (
                "--finetune: none of the cells of --control is held out for a prediction; hold out "
                "more (--held_out)"
            )
        if len(json.dumps(self.rule.asdict())) > MAX_RULE:
            yield (
                f"--split_by {self.rule.by}: {len(self.rule.groups)} groups to hold out are too "
                "many; give the split in a --split_column"
            )

    def _pair_faults(self, kinds: set[str]) -> Iterator[str]:
        """Whether training cells (of these kinds) hold a pair of control and perturbed cell."""
        missing = [kind for kind in (CONTROL, PERTURBED) if kind not in kinds]
        if missing:
            yield (
                f"--finetune perturbation: none of the train cells is a {missing[0]} cell, by "
                f"{self.rule.perturbation_column} and --control"
                + self.held.offer(
                    *dict.fromkeys([self.rule.perturbation_column, *self._of_control])
                )
            )
            return
        end = f"\n{CONTROL}"
        strata = {kind.removesuffix(end) for kind in kinds if kind.endswith(end)}
        if not any(f"{stratum}\n{PERTURBED}" in kinds for stratum in strata):
            label = f"label in --label_column {self.strata} and " if self.strata else ""
            yield (
                "--finetune perturbation: no perturbed train cell has a control cell of its "
                f"{label}organism"
            )

    def _plan(self, counts: Counter[tuple[str, str]]) -> list[str]:
        sizes = ", ".join(f"{counts[name, CELLS]} for {name}" for name in SPLITS)
        line = f"plan: fine-tuning ({', '.join(self.tasks)}), cells before QC: {sizes}"
        if not counts[VALIDATION, CELLS]:
            line += " (the weights of the last step are used)"
        if self.rule.by_group:
            names = {name for name, _ in self.group_sizes}
            groups = Counter(map(self.rule.split_of, names))
            many = ", ".join(f"{groups[name]} for {name}" for name in SPLITS)
            line += f"; groups of {self.rule.by}: {many}"
            return [line, *self.rule.doubts(names)]
        return [line]


def training_of(flat: Mapping, predicts: bool, faults: Faults) -> Training | None:
    """What the parameters (name to value) ask to train; None for nothing, or nonsense."""
    if not isinstance(flat["finetune"], str):
        return None
    n_faults = len(faults)
    with faults.collect("--finetune: "):
        tasks = parse_tasks(flat["finetune"])
        measured = flat["measured_column"] or flat["perturbation_column"]
        faults += _option_faults(flat, tasks, measured)
    if len(faults) > n_faults:
        return None
    rule = Rule(
        by=flat["split_by"],
        column=flat["split_column"],
        held_out=flat["held_out"],
        validation=flat["validation"],
        seed=flat["seed"],
        perturbation_column=measured,
        control=flat["control"],
        combinations=flat.get("hold_out_combinations", True),
    )
    return Training(tasks, rule, flat["label_column"], predicts)


def _option_faults(flat: Mapping, tasks: Mapping, measured: str | None) -> Iterator[str]:
    """Parameters that do not go together."""
    for task in ("cell_type", "conversion"):
        if task in tasks and flat["label_column"] is None:
            yield f"--finetune {task}: name the column of obs with the labels: --label_column"
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
    for option in ("split_by", "split_column"):
        if flat[option] in RESERVED:
            yield f"--{option} {flat[option]} is a name of c2sflow's own; copy the column"
