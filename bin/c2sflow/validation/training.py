"""What a run trains its model on, checked against every sample before it starts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from c2sflow.common.errors import Faults
from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.obs.held_values import HeldValues
from c2sflow.data.obs.labels import is_control, is_labelled, is_perturbed, where_known
from c2sflow.data.obs.queries import CheckedQueries, query_columns, select_cells
from c2sflow.data.splits.splits import SPLITS, TEST, TRAIN, VALIDATION, Rule
from c2sflow.validation.few_cells import FewCells
from c2sflow.validation.leaks import Leaks
from c2sflow.validation.listed import Listed

MAX_RULE = 100_000  # characters: the rule is handed on as one word of a command
KNOWN = "\t"  # before the name of a split that is known at once
CELLS, CONTROL, PERTURBED, SOURCE = "cells", "control", "perturbed", "source"
LABEL, TISSUE = "label: ", "tissue: "


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
    group_sizes, split_sizes
        Cells of each key of `Rule.pending`, or of each split if they are split one by one, and
        kind.
    picked
        Cells that --hold_out picks: see `Rule.settled`.
    few
        Cells that --few_shot counts.
    leaks
        What must not be on both sides.
    listed
        What --splits names, and the samples hold of it.
    held_out
        Share of the cells to predict that `check` finds to be held out.
    """

    tasks: Mapping[str, float]
    rule: Rule
    label_column: str | None = None
    predicts: bool = False
    tissue_column: str | None = None
    group_sizes: Counter[tuple[str, str]] = field(default_factory=Counter)
    split_sizes: Counter[tuple[str, str]] = field(default_factory=Counter)
    picked: Counter[tuple[str, bool]] = field(default_factory=Counter)
    few: FewCells = field(default_factory=FewCells)
    leaks: Leaks = field(default_factory=Leaks)
    listed: Listed = field(default_factory=Listed)
    queries: CheckedQueries = field(default_factory=CheckedQueries)
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

    def look_at(
        self,
        obs: pd.DataFrame,
        where: str,
        faults: Faults,
        names: pd.Index | None = None,
        contents: np.ndarray | None = None,
    ) -> None:
        """Count the cells of one sample.

        Parameters
        ----------
        names, contents
            Of its cells: see `c2sflow.validation.leaks.Cells`. None: names as in obs, no contents.
        """
        n_faults = len(faults)
        with faults.collect(f"{where}: "):
            self._count(obs)
            self.leaks.look_at_cells(
                obs, self.rule, obs.index if names is None else names, contents
            )
        self.failed |= len(faults) > n_faults

    def _columns(self) -> list[str]:
        """Columns of obs that tasks and splits use."""
        rule = self.rule
        names = [rule.column, *rule.columns, rule.context_column, self.leaks.pool_column]
        names += [self.label_column, self.tissue_column, rule.perturbation_column]
        names += self._of_control
        if rule.hold_out:
            names += query_columns(rule.hold_out, "--hold_out")
        return [name for name in dict.fromkeys(names) if name is not None]

    @property
    def _split_columns(self) -> list[str]:
        """Columns that decide the split."""
        rule = self.rule
        names = query_columns(rule.hold_out, "--hold_out") if rule.hold_out else rule.columns
        if rule.state:
            names = [n for n in (rule.context_column, rule.perturbation_column) if n]
        return names or ["c2s_split"]

    @property
    def _of_control(self) -> list[str]:
        return query_columns(self.rule.control, "--control") if self.rule.control else []

    def _count(self, obs: pd.DataFrame) -> None:
        self.held.add(obs[[name for name in self._columns() if name in obs]])
        if self.rule.hold_out is not None:
            self._count_picked(obs)
        splits = pd.Series(replace(self.rule, few_shot=None).apply(obs), obs.index)
        groups = self.rule.pending(obs)
        keys = groups.fillna(KNOWN + splits)
        self.few.look_at(obs, self.rule, keys)
        self.leaks.look_at(obs, self.rule, keys)
        self.listed.look_at(obs, self.rule)
        places = ((groups, self.group_sizes), (splits[groups.isna()], self.split_sizes))
        for kind in self._kinds(obs):
            for keys, counter in places:
                pairs = pd.DataFrame({"key": keys, "kind": kind}).dropna()
                for pair, n in pairs.value_counts().items():
                    counter[pair] += int(n)

    def _count_picked(self, obs: pd.DataFrame) -> None:
        """Which contexts --hold_out picks perturbed cells of, and which control cells."""
        sample = str(obs["sample"].iloc[0]) if len(obs) else ""
        chosen = self.queries.select(obs, self.rule.hold_out, "--hold_out", sample)
        controls = self.rule.controls(obs)
        for of_control, rows in ((True, chosen & controls), (False, chosen & ~controls)):
            for context, n in self.rule.contexts(obs)[rows].value_counts().items():
                self.picked[str(context), of_control] += int(n)

    def _kinds(self, obs: pd.DataFrame) -> Iterator[pd.Series]:
        """What each cell counts as, in one respect after the other; None for nothing."""
        yield pd.Series(CELLS, obs.index)
        chosen = select_cells(obs, self.rule.control, "--control")
        yield pd.Series(where_known(chosen, SOURCE), obs.index)
        if self.label_column in obs:
            yield LABEL + self._organism_and(obs, self.label_column)
        if self.tissue_column in obs:
            yield TISSUE + self._organism_and(obs, self.tissue_column)
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
        sizes = {name: n for (name, kind), n in self.group_sizes.items() if kind == CELLS}
        if self.rule.by_group or self.rule.hold_out is not None:
            n_faults = len(faults)
            with faults.collect(f"--split_by {self.rule.by}: "):
                self.rule = self.rule.settled(sizes, self.picked)
            if len(faults) > n_faults:
                return []
        for (name, kind), n in self.group_sizes.items():
            counts[self.rule.split_of_key(name), kind] += n
        self.rule = self.few.settled(self.rule, self._split_of)
        counts[TRAIN, CELLS] -= self.few.n_counted - self.few.n_kept
        faults += self.listed.faults(self.rule)
        faults += self._faults(counts)
        faults += self.leaks.faults(self.rule, self._split_of)
        self.held_out = counts[TEST, SOURCE] / max(1, sum(counts[name, SOURCE] for name in SPLITS))
        return self._plan(counts)

    def _split_of(self, key: str) -> str:
        """Split of cells that were counted under it, or under a key."""
        return key.removeprefix(KNOWN) if key.startswith(KNOWN) else self.rule.split_of_key(key)

    def _faults(self, counts: Counter[tuple[str, str]]) -> Iterator[str]:
        if self.few.n_counted and not self.few.n_kept:
            yield (
                f"--few_shot {self.rule.few_shot}: keeps none of {self.few.n_counted} training "
                "cells; give a greater share, or a number of cells"
            )
            return
        empty = [name for name in self.rule.needed if not counts[name, CELLS]]
        if empty:
            how = self.rule.column or self.rule.by
            if self.rule.hold_out or self.rule.state:
                how = f"--hold_out {self.rule.hold_out!r}" if self.rule.hold_out else "--splits"
            yield (
                f"--finetune: no cell is for {' or '.join(empty)} (split by {how})"
                + self.held.offer(*([how] if how in self.held.missing else self._split_columns))
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
            tissues = [kind for name, kind in counts if name == split and kind.startswith(TISSUE)]
            if "tissue" in self.tasks and not tissues:
                yield (
                    f"--finetune tissue: the {split} cells do not have a tissue in --tissue_column "
                    f"{self.tissue_column}" + self.held.offer(self.tissue_column)
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
                f"--finetune: {len(self.rule.groups) or len(self.rule.few_ends)} groups of the "
                "split are too many for one rule; give the split in a --split_column"
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
        if self.few.n_counted:
            line += f"; --few_shot keeps {self.few.n_kept} of {self.few.n_counted} training cells"
        if self.rule.by_group:
            names = {name for name, _ in self.group_sizes}
            groups = Counter(map(self.rule.split_of, names))
            many = ", ".join(f"{groups[name]} for {name}" for name in SPLITS)
            line += f"; groups of {self.rule.by}: {many}"
            return [line, *self.rule.doubts(names)]
        return [line]
