"""Predicted perturbations by what is new about the held-out cells that they are compared with.

A cell measured under a perturbation in a context (cell line, donor, cell type) is of one kind: new
is the context, the perturbation, both, only that the two come together (pair), or nothing but the
cell. Figures of one kind are of predictions and measured cells of the same contexts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from c2sflow.data.obs.measured_cells import CONTROL, Measured, labels_of_conditions
from c2sflow.data.splits.groups import parts_of
from c2sflow.evaluation.figures import Figure, figures_table
from c2sflow.evaluation.gene_changes import GeneChanges
from c2sflow.evaluation.measured import perturbation_figures
from c2sflow.evaluation.perturbation import mean_figures
from c2sflow.evaluation.run_reader import RunCells

# By whether perturbation, context and pair of both were trained on.
KINDS = {
    (True, True, True): "new cells",
    (True, True, False): "new pair",
    (False, True, False): "new perturbation",
    (True, False, False): "new context",
    (False, False, False): "new perturbation and context",
}
COLUMN = "kind"


@dataclass(frozen=True)
class Trained:
    """What the model was trained on.

    Attributes
    ----------
    perturbations
        As `c2sflow.data.splits.groups.parts_of` reads them: without spelling and dose.
    contexts
        Of all cells, control cells among them.
    pairs
        Perturbations and contexts that come together.
    """

    perturbations: frozenset[frozenset[str]]
    contexts: frozenset[str]
    pairs: frozenset[tuple[frozenset[str], str]]

    def kind(self, label: str, context: str) -> str:
        """Kind of the held-out cells with this perturbation and context."""
        parts = parts_of(label)
        seen = parts in self.perturbations, context in self.contexts, (parts, context) in self.pairs
        return KINDS[seen]


def trained_on(labels: np.ndarray, contexts: pd.Series, seen: np.ndarray) -> Trained:
    """What the cells hold that the model was trained on.

    Parameters
    ----------
    labels
        Perturbation of every cell, `CONTROL` for none.
    contexts
        Context of every cell, as text.
    seen
        bool (n_cells,): training cells.
    """
    cells = pd.DataFrame({"label": labels[seen], "context": contexts[seen]}).drop_duplicates()
    pairs = {(parts_of(r.label), r.context) for r in cells.itertuples() if r.label != CONTROL}
    perturbations = frozenset(parts for parts, _ in pairs)
    return Trained(perturbations, frozenset(cells["context"]), frozenset(pairs))


def kind_tables(
    cells: RunCells,
    answers: pd.DataFrame,
    measured: Measured,
    figures: Sequence[Figure],
    contexts: pd.Series,
    seen: np.ndarray,
    most: int,
    seed: int,
    genes: GeneChanges,
) -> tuple[pd.DataFrame, list[str]]:
    """Figures of `perturbation_figures` for each kind, and how many cells are of each.

    Parameters
    ----------
    answers, measured, most, seed, genes
        See `c2sflow.evaluation.measured.perturbation_figures`.
    figures
        What that finds of all cells together: of a run with one kind, these are its figures.
    contexts
        Context of every cell of the run, as text; "" for none.
    seen
        bool (n_cells,): cells that the model was trained on.
    """
    trained = trained_on(measured.labels, contexts, seen)
    conditions = labels_of_conditions(answers, measured.groups)
    asked = {label for label in conditions.values() if label}
    places = _places(measured, contexts, trained, asked)
    sources = contexts.to_numpy()[answers["source"]]
    compared = {*sources, *contexts.iloc[measured.groups[CONTROL]]}
    if len(places) == 1 and compared <= next(iter(places))[1]:
        kind = next(iter(places))[0]
        return _table({kind: list(figures)}), _counts(measured, places, contexts)
    found: dict[str, list[Figure]] = {}
    for (kind, inside), labels in places.items():
        own = answers["condition"].astype(str).map(conditions).isin(labels).to_numpy()
        chosen = answers[own & np.isin(sources, list(inside))]
        if chosen.empty:
            continue
        within = _within(measured, contexts.isin(inside).to_numpy())
        own_figures, _ = perturbation_figures(
            cells, chosen, within, most, seed, genes, lambda _: None
        )
        found.setdefault(kind, []).extend(own_figures)
    return _table(found), _counts(measured, places, contexts)


def _table(figures: Mapping[str, Sequence[Figure]]) -> pd.DataFrame:
    """The figures of each kind, and their means over the perturbations."""
    tables = []
    for kind in KINDS.values():
        own = [figure for figure in figures.get(kind, ()) if figure.subject]
        if own:
            tables.append(figures_table([*own, *mean_figures(own)]).assign(**{COLUMN: kind}))
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True)
    return table[[COLUMN, *table.columns.drop(COLUMN)]]


Places = Mapping[tuple[str, frozenset[str]], set[str]]


def _places(
    measured: Measured, contexts: pd.Series, trained: Trained, asked: set[str]
) -> dict[tuple[str, frozenset[str]], set[str]]:
    """Perturbations by kind and the contexts in which they are of it."""
    found: defaultdict[tuple[str, frozenset[str]], set[str]] = defaultdict(set)
    for label in sorted(asked):
        own: defaultdict[str, set[str]] = defaultdict(set)
        for context in contexts.iloc[measured.groups[label]].unique():
            own[trained.kind(label, context)].add(context)
        for kind, names in own.items():
            found[kind, frozenset(names)].add(label)
    return dict(found)


def _within(measured: Measured, inside: np.ndarray) -> Measured:
    """The measured and control cells of some contexts; the training cells as they are."""
    groups = {name: rows[inside[rows]] for name, rows in measured.groups.items()}
    groups = {name: rows for name, rows in groups.items() if len(rows) or name == CONTROL}
    return replace(measured, groups=groups)


def _counts(measured: Measured, places: Places, contexts: pd.Series) -> list[str]:
    """How many cells and perturbations are of each kind."""
    lines = []
    for kind in KINDS.values():
        own = [(label, inside) for (k, inside), names in places.items() if k == kind
               for label in names]  # fmt: skip
        n_cells = sum(
            int(contexts.iloc[measured.groups[label]].isin(inside).sum()) for label, inside in own
        )
        if own:
            n = len({label for label, _ in own})
            many = "1 perturbation" if n == 1 else f"{n} perturbations"
            lines.append(f"{kind}: {n_cells:,} measured cells of {many}, held out")
    return lines
