"""What must not be on both sides of a split: a cell, a pool, a perturbation under another name.

A split that chance draws keeps them apart by itself: cells of a group go together, and the copies
of a cell follow the one that is held out (`c2sflow.data.splits.twins`). What the user names
(--split_column, --hold_out, --splits) is taken at its word, and refused where it leaks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from c2sflow.common.errors import some
from c2sflow.data.obs.labels import is_labelled, is_perturbed
from c2sflow.data.splits.group_rule import column_of
from c2sflow.data.splits.groups import contained_in, parts_of
from c2sflow.data.splits.splits import TEST, TRAIN, VALIDATION, Rule

SIDES = {TRAIN: 0, VALIDATION: 1, TEST: 2}
UNPLACED = -1


@dataclass
class Cells:
    """The cells of one sample.

    Attributes
    ----------
    sample
        Its name.
    names
        Names of the cells, as its file has them.
    contents
        uint64 (n_cells,): hash of genes and values; None where it is not known.
    sides
        int8 (n_cells,): of `SIDES`, as the user names them; `UNPLACED` for cells that are unused.
    """

    sample: str
    names: pd.Index
    contents: np.ndarray | None
    sides: np.ndarray


@dataclass
class Leaks:
    """What the samples hold that could be on both sides.

    Attributes
    ----------
    pool_column
        Column of obs with the pool (donor pool, lane, well, pseudo-replicate) of each cell.
    pools
        Pool to the splits, or the keys of them, that its cells have: see `Rule.pending`.
    sides
        Perturbation to the splits that its cells have.
    """

    pool_column: str | None = None
    pools: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    sides: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    cells: list[Cells] = field(default_factory=list)

    def look_at(self, obs: pd.DataFrame, rule: Rule, splits: pd.Series) -> None:
        """Take in the annotation of a sample, with the split or key of each cell.

        Raises
        ------
        UserError
            If obs lacks the column of pools.
        """
        if self.pool_column is not None:
            pools = column_of(obs, self.pool_column, "--pool_column")
            known = is_labelled(pools).to_numpy()
            pairs = pd.DataFrame({"pool": pools.astype(str).str.strip(), "split": splits})[known]
            for pool, split in pairs.drop_duplicates().itertuples(index=False):
                self.pools[pool].add(split)
        if rule.declared and rule.column is None and rule.perturbation_column in obs:
            labels = rule.labels(obs)
            perturbed = is_perturbed(labels).to_numpy() & ~rule.controls(obs)
            pairs = pd.DataFrame({"label": labels, "split": rule.named_splits(obs)})[perturbed]
            for label, split in pairs.drop_duplicates().itertuples(index=False):
                self.sides[label].add(split)

    def look_at_cells(
        self, obs: pd.DataFrame, rule: Rule, names: pd.Index, contents: np.ndarray | None
    ) -> None:
        """Take in the cells of a sample, if the user names their splits."""
        if rule.declared and len(obs):
            sides = pd.Series(rule.named_splits(obs)).map(SIDES).fillna(UNPLACED)
            sample = str(obs["sample"].iloc[0])
            self.cells.append(Cells(sample, names, contents, sides.to_numpy(dtype=np.int8)))

    def faults(self, rule: Rule, split_of: Callable[[str], str]) -> Iterator[str]:
        """A line for each kind of leak, all samples known."""
        yield from self._of_names()
        yield from self._of_contents()
        yield from self._of_pools(rule, split_of)
        if rule.combinations:
            yield from self._of_spellings()

    def _of_names(self) -> Iterator[str]:
        """The same name twice in one sample, on two sides."""
        for own in self.cells:
            twice = np.flatnonzero(own.names.duplicated(keep=False) & (own.sides != UNPLACED))
            sides = pd.Series(own.sides[twice]).groupby(own.names[twice]).nunique()
            if names := [str(name) for name in sides.index[sides > 1]]:
                yield (
                    f"sample {own.sample}: {len(names)} names of cells occur twice, in two splits "
                    f"({some(names)}): the same cell must be in one; remove its copy, or, of other "
                    "cells, make the names unique (adata.obs_names_make_unique())"
                )

    def _of_contents(self) -> Iterator[str]:
        """The same genes and values under two names, on two sides."""
        known = [(n, own) for n, own in enumerate(self.cells) if own.contents is not None]
        if not known:
            return
        cells = pd.DataFrame(
            {
                "content": np.concatenate([own.contents for _, own in known]),
                "side": np.concatenate([own.sides for _, own in known]),
                "sample": np.repeat([n for n, _ in known], [len(own.names) for _, own in known]),
                "row": np.concatenate([np.arange(len(own.names)) for _, own in known]),
            }
        )
        cells = cells[(cells["side"] != UNPLACED) & (cells["content"] != 0)]
        cells = cells[cells["content"].duplicated(keep=False)]
        sides = cells.groupby("content", sort=False)["side"]
        apart = cells[sides.transform("nunique") > 1]
        if apart.empty:
            return
        first = apart[apart["content"] == apart["content"].iloc[0]]
        pair = first.drop_duplicates("side").head(2)
        words = [self._word(row.sample, row.row, row.side) for row in pair.itertuples(index=False)]
        n = apart["content"].nunique()
        yield (
            f"{n} {'cell is' if n == 1 else 'cells are'} in two splits, with the same values of "
            f"every gene: {' and '.join(words)}; put both into one split, or remove one"
        )

    def _word(self, number: int, row: int, side: int) -> str:
        own = self.cells[number]
        split = next(name for name, value in SIDES.items() if value == side)
        return f"{own.names[row]} of sample {own.sample} ({split})"

    def _of_pools(self, rule: Rule, split_of: Callable[[str], str]) -> Iterator[str]:
        """A pool with cells held out and cells for the training."""
        mixed = []
        for pool, keys in sorted(self.pools.items()):
            found = {split_of(key) for key in keys}
            if TEST in found and found & {TRAIN, VALIDATION}:
                mixed.append(pool)
        if mixed:
            how = "hold out whole ones" if rule.declared else f"--split_by {self.pool_column}"
            yield (
                f"--pool_column {self.pool_column}: {len(mixed)} of {len(self.pools)} pools have "
                f"cells held out and cells to train on ({some(mixed)}); {how}"
            )

    def _of_spellings(self) -> Iterator[str]:
        """A perturbation of which all cells are held out, in training under another name."""
        trained = [label for label, splits in self.sides.items() if TRAIN in splits]
        held = {
            parts_of(label): label
            for label, splits in sorted(self.sides.items())
            if TEST in splits and not splits & {TRAIN, VALIDATION}
        }
        inside = {other: contained_in(other) for other in sorted(trained)}
        found = [
            f"{other} ({label} is held out)"
            for other, names in inside.items()
            for parts, label in held.items()
            if parts <= names
        ]
        if found:
            yield (
                f"training cells are under a held-out perturbation in another dose, spelling or "
                f"combination: {some(found)}; hold them out too, or, if they are others, give "
                "--hold_out_combinations false"
            )
