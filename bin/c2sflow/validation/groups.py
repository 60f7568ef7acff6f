"""Whether cells can be grouped as a run asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from c2sflow.common.errors import Faults
from c2sflow.data.obs.labels import is_labelled
from c2sflow.data.obs.shard_columns import RESERVED
from c2sflow.sentences.groups.drawing import NEIGHBOURS, SAMPLE
from c2sflow.validation.generated_kind import asks_for_several

OPTIONS = (
    "group_by", "groups_across_samples", "group_prompt", "interpret_groups",
    "interpretation_prompt",
)  # fmt: skip


@dataclass
class GroupedCells:
    """The cells by the value that those of a group share.

    Attributes
    ----------
    by
        --group_by.
    across_samples
        Whether cells of several samples may share a group.
    """

    by: str
    across_samples: bool = False
    n_cells: int = 0
    values: Counter = field(default_factory=Counter)

    @property
    def column(self) -> str | None:
        """Column of obs that is needed of each sample."""
        return None if self.by in (SAMPLE, NEIGHBOURS) else self.by

    def look_at(self, obs: pd.DataFrame, where: str, faults: Faults) -> None:
        """Take in the cells of a sample."""
        if self.by == NEIGHBOURS and NEIGHBOURS in obs:
            faults.append(
                f"{where}: obs has a column {NEIGHBOURS!r}, and --group_by {NEIGHBOURS} takes "
                "cells near each other in expression; rename the column"
            )
        if self.column not in obs:
            return
        labels = obs[self.column]
        labels = labels[is_labelled(labels)].astype(str)
        unit = "" if self.across_samples else where
        self.values.update(f"{unit}|{value}" for value in labels)
        self.n_cells += len(obs)

    def check(self, faults: Faults) -> None:
        """Faults that only all samples together show."""
        if not self.n_cells:
            return
        if not self.values:
            faults.append(
                f"--group_by {self.by}: obs[{self.by!r}] is empty for all cells of every sample; "
                "name another column"
            )
        elif 2 * len(self.values) > self.values.total() > 1:
            faults.append(
                f"--group_by {self.by}: {len(self.values)} values in {self.values.total()} cells, "
                "so that most cells would be a group of their own; give a column of labels, such "
                "as a cluster or a donor"
            )


def grouped_cells(flat: Mapping, faults: Faults) -> GroupedCells | None:
    """What is to be looked at in the samples; None without --cells_per_prompt."""
    if not isinstance(flat["cells_per_prompt"], int):
        return None
    if flat["group_by"] == NEIGHBOURS and flat["groups_across_samples"]:
        faults.append(
            f"--group_by {NEIGHBOURS} and --groups_across_samples exclude one another: what "
            "differs between samples would decide which cells are near; leave one of them out"
        )
    if flat["group_by"] in RESERVED:
        faults.append(
            f"--group_by {flat['group_by']} is a name of c2sflow's own; copy the column to another "
            "name"
        )
        return GroupedCells(SAMPLE)  # one fault is enough
    return GroupedCells(str(flat["group_by"]), bool(flat["groups_across_samples"]))


def group_lines(flat: Mapping, n_cells: int) -> list[str]:
    """What a run does with groups, or which options have no effect, for the log."""
    most = flat["cells_per_prompt"]
    if most:
        by = "any of a sample" if flat["group_by"] == SAMPLE else f"by {flat['group_by']}"
        lines = [
            f"plan: groups of at most {most} cells, {by}: {-(-n_cells // most)} or more prompts "
            "beside those of cells"
        ]
        if flat["group_by"] == SAMPLE and flat["groups_across_samples"]:
            lines.append(
                f"--groups_across_samples: no effect with --group_by {SAMPLE}; name a column that "
                "cells of several samples share"
            )
        return lines
    own = OPTIONS[2:] if asks_for_several(flat) and flat["finetune"] else OPTIONS
    given = [name for name in own if flat[name] not in (None, False, SAMPLE)]
    names = ", ".join(f"--{name}" for name in given)
    return [f"{names}: no effect without --cells_per_prompt"] if names else []
