"""What ``splits.toml`` lists, looked for in the samples: a name that no cell has holds out none."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from c2sflow.common.errors import some
from c2sflow.data.splits.groups import clean_label
from c2sflow.data.splits.splits import Rule


@dataclass
class Listed:
    """Contexts of each data set, and the perturbations of each context, that the samples hold."""

    contexts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    labels: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def look_at(self, obs: pd.DataFrame, rule: Rule) -> None:
        """Take in the cells of a sample.

        Raises
        ------
        UserError
            If it is of no data set of the file.
        """
        if rule.state is None or not len(obs):
            return
        dataset = rule.state.dataset_of(str(obs["sample"].iloc[0]))
        contexts, labels = rule.contexts(obs), rule.labels(obs)
        self.contexts[dataset].update(contexts.dropna())
        for context, own in labels.groupby(contexts):
            self.labels[dataset, str(context)] |= set(map(clean_label, own.dropna().unique()))

    def faults(self, rule: Rule) -> Iterator[str]:
        """A line for each context, or list of perturbations, that no cell is of."""
        if rule.state is None:
            return
        column = rule.context_column
        tables = (("zeroshot", rule.state.zeroshot), ("fewshot", rule.state.fewshot))
        for table, listed in tables:
            for dataset in listed.keys() & self.contexts.keys():
                held = sorted(self.contexts[dataset])
                if strange := sorted(set(listed[dataset]) - set(held)):
                    yield (
                        f"--splits: [{table}] lists {some(strange)}, which no cell of {dataset} "
                        f"has in obs[{column!r}]; it holds {some(held, 10)}"
                    )
        for dataset, context, splits in rule.state.listed():
            seen = self.labels.get((dataset, context))
            if seen is not None and (strange := sorted(set(splits) - seen)):
                yield (
                    f"--splits: [fewshot] {dataset}.{context} lists {some(strange)}, which no cell "
                    f"has in obs[{rule.perturbation_column!r}]; correct the names, or take them out"
                )
