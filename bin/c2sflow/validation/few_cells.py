"""Which training cells --few_shot keeps, counted sample by sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pandas as pd

from c2sflow.data.splits.few_shot import group_ends, lowest_draws
from c2sflow.data.splits.splits import TRAIN, Rule


def _no_cells() -> pd.DataFrame:
    return pd.DataFrame({"group": [], "split": [], "draw": []}).astype({"draw": float})


@dataclass
class FewCells:
    """The cells of each perturbation and context.

    Attributes
    ----------
    lowest
        Those that may be kept: group, split (or key of it, see `Rule.pending`) and draw.
    sizes
        Cells of each group and split.
    n_counted, n_kept
        Training cells that are counted, and those of them that are kept: after `settled`.
    """

    lowest: pd.DataFrame = field(default_factory=_no_cells)
    sizes: Counter[tuple[str, str]] = field(default_factory=Counter)
    n_counted: int = 0
    n_kept: int = 0

    def look_at(self, obs: pd.DataFrame, rule: Rule, splits: pd.Series) -> None:
        """Take in the cells of a sample, with the split or key of each."""
        few = rule.few_shot
        if few is None:
            return
        cells = pd.DataFrame({"group": rule.few_groups(obs), "split": splits})
        cells = cells.assign(draw=rule.few_draws(obs)).dropna()
        self.sizes.update(zip(cells["group"], cells["split"], strict=True))
        if few < 1:
            cells = cells[cells["draw"] < few]
        found = cells if self.lowest.empty else pd.concat([self.lowest, cells], ignore_index=True)
        # One more than are kept, to know the groups that have more.
        self.lowest = lowest_draws(found, int(few) + 1) if few >= 1 else found

    def settled(self, rule: Rule, split_of: Callable[[str], str]) -> Rule:
        """The rule with the greatest draw of each group that is kept, all samples known."""
        few = rule.few_shot
        if few is None:
            return rule
        trained = {key: split_of(key) == TRAIN for _, key in self.sizes}
        self.n_counted = sum(n for (_, key), n in self.sizes.items() if trained[key])
        kept = self.lowest[self.lowest["split"].map(trained).astype(bool)]
        if few < 1:
            self.n_kept = len(kept)
            return rule
        self.n_kept = int(kept["group"].value_counts().clip(upper=int(few)).sum())
        return replace(rule, few_ends=group_ends(kept, int(few)))
