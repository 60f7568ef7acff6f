"""Which perturbations shift a gene set, and in which context: ranked, with corrected intervals.

The dual-context screen of C2S-Scale (Rizvi et al., 2025) looks for perturbations that shift a
signature in one context and not in another: the difference of the shifts, with its interval, is
what they are ranked by here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.common.statistics import (
    MIN_UNITS,
    Estimates,
    adjusted,
    difference_of,
    mean_of,
    replicate_means,
    selected_level,
    shrunken,
)
from c2sflow.perturbation.shifts import Shifts

PLACE = ["gene_set", "context", "versus"]
FIGURES = ["shift", "shrunken_shift", "ci_low", "ci_high", "p_value", "p_adjusted"]
FIGURES += ["n_cells", "n_versus", "unit", "n_units", "n_versus_units"]
MOST_LINES = 5  # comparisons that a sentence names
CELLS = "cells"  # the unit where nothing shows which cells are of one donor


def set_means(gene_sets: Mapping[str, Sequence[Sequence[int]]], n_genes: int) -> sparse.csr_matrix:
    """Matrix that takes genes to the means of sets: (n_genes, n_sets).

    A gene of a set is the columns that hold it: more than one where samples spell it differently
    ("Actb", "ACTB"), of which a cell fills one.
    """
    means = sparse.lil_matrix((n_genes, len(gene_sets)))
    for place, genes in enumerate(gene_sets.values()):
        for columns in genes:
            means[columns, place] = 1 / len(genes)
    return means.tocsr()


@dataclass(frozen=True)
class Comparison:
    """Cells whose shifts are compared.

    Attributes
    ----------
    context, versus
        Of either side; None: all cells, and with what no shift at all would be.
    one, other
        bool (n_cells,): the cells of either side; `other` is None without `versus`.
    """

    context: str | None
    versus: str | None
    one: np.ndarray
    other: np.ndarray | None


def screen_rows(
    shifts: Shifts,
    gene_sets: Mapping[str, Sequence[Sequence[int]]],
    replicate_column: str | None = None,
) -> Iterator[dict]:
    """Rows of one condition, for `rank_screen`.

    A cell's signature shift is the mean log2 fold change over the genes of the set. Genes that
    occur in neither of its sentences count with 0: no visible shift.

    Parameters
    ----------
    shifts
        From `c2sflow.perturbation.shifts.read_shifts`, with the context and the replicate of the
        cells if there are such columns.
    gene_sets
        The columns of each gene of each set, see `set_means`.
    replicate_column
        Name of the replicates.
    """
    scores = (shifts.folds @ set_means(gene_sets, shifts.folds.shape[1])).toarray()
    for compared in comparisons(shifts.cells):
        unit, sides = _sides(scores, shifts.cells, compared, replicate_column)
        found = difference_of(*sides) if len(sides) > 1 else mean_of(sides[0])
        if compared.other is not None and len(sides) == 1:  # the same replicates on both sides
            n_units = (sides[0].shape[1],) * 2
        else:
            n_units = tuple(side.shape[1] for side in sides)
        p_values = found.p_values()
        for place, name in enumerate(gene_sets):
            yield {
                **shifts.names,
                "gene_set": name,
                "context": compared.context,
                "versus": compared.versus,
                "n_cells": int(compared.one.sum()),
                "n_versus": None if compared.other is None else int(compared.other.sum()),
                "unit": unit,
                "n_units": n_units[0],
                "n_versus_units": n_units[1] if len(n_units) > 1 else None,
                "shift": found.value[place],
                "error": found.error[place] if shifts.compared_with else np.nan,
                "freedom": found.freedom[place],
                "p_value": p_values[place] if shifts.compared_with else np.nan,
            }


def _sides(
    scores: np.ndarray, cells: pd.DataFrame, compared: Comparison, replicate_column: str | None
) -> tuple[str, list[np.ndarray]]:
    """What a unit is, and the scores of the units of either side, float (n_sets, n_units).

    One side if there is nothing to compare with, or if both have the same replicates: then it
    holds the difference within each.
    """
    masks = [mask for mask in (compared.one, compared.other) if mask is not None]
    if replicate_column is not None:
        unit, labels = replicate_column, cells["replicate"]
    elif compared.other is not None and not _shared(cells["sample"], *masks):
        # A difference between contexts that share no sample is one between samples.
        unit, labels = "sample", cells["sample"]
    else:
        return CELLS, [scores[mask].T for mask in masks]
    means = [replicate_means(scores[mask], labels[mask]) for mask in masks]
    if len(means) == 2 and means[0].index.equals(means[1].index):
        means = [means[0] - means[1]]
    return unit, [mean.to_numpy().T for mean in means]


def _shared(samples: pd.Series, one: np.ndarray, other: np.ndarray) -> bool:
    return bool(set(samples[one]) & set(samples[other]))


def comparisons(cells: pd.DataFrame) -> list[Comparison]:
    """All cells, each context, and the differences between contexts.

    Of two contexts there is one difference; of more, each is compared with the others together.
    """
    every = np.ones(len(cells), dtype=bool)
    groups = [Comparison(None, None, every, None)] if len(cells) else []
    if "context" not in cells:
        return groups
    known = cells["context"].notna().to_numpy()
    labels = cells["context"].astype(str).to_numpy()
    names = sorted(set(labels[known]))
    inside = {name: known & (labels == name) for name in names}
    groups += [Comparison(name, None, inside[name], None) for name in names]
    if len(names) == 2:
        one, other = names
        groups.append(Comparison(one, other, inside[one], inside[other]))
    elif len(names) > 2:
        groups += [
            Comparison(name, "others", inside[name], known & ~inside[name]) for name in names
        ]
    return groups


def rank_screen(rows: Sequence[Mapping]) -> pd.DataFrame:
    """The screen: conditions ranked within each gene set and comparison.

    p-values are adjusted over all rows, conditions x gene sets x comparisons, and the intervals
    are those of `c2sflow.common.statistics.selected_level`. Shrunken shifts are of the conditions
    of a gene set and comparison together.

    Returns
    -------
    gene_set, context, versus, rank (1: the largest absolute shift; missing without an interval),
    the columns of the condition, and `FIGURES`; differences between contexts first, as they are
    what a screen of contexts asks for.
    """
    if not rows:
        return pd.DataFrame(columns=[*PLACE, "rank", "condition", *FIGURES])
    table = pd.DataFrame(rows)
    filled = table[PLACE].fillna("")
    value, error = table["shift"].to_numpy(), table["error"].to_numpy(dtype=float)
    found = Estimates(value, error, table["freedom"].to_numpy(dtype=float))
    table["p_adjusted"] = adjusted(table["p_value"].to_numpy(dtype=float))
    level = selected_level(table["p_adjusted"].to_numpy())
    table["ci_low"], table["ci_high"] = found.interval(level)
    groups = table.groupby([filled[name] for name in PLACE], sort=False).indices
    drawn = np.full(len(table), np.nan)
    for places in groups.values():
        drawn[places] = shrunken(value[places], error[places])
    table["shrunken_shift"] = drawn
    ranked = table["shift"].abs().where(table["error"].notna())
    ranks = ranked.groupby([filled[name] for name in PLACE]).rank("min", ascending=False)
    table["rank"] = ranks.astype("Int64")
    order = filled.assign(
        kind=table["versus"].isna(), rank=table["rank"], condition=table["condition"]
    ).sort_values(["gene_set", "kind", "context", "versus", "rank", "condition"])
    hidden = ("error", "freedom", "rank")
    names = [name for name in table if name not in (*PLACE, *FIGURES, *hidden)]
    columns = [*PLACE, "rank", *names, *FIGURES]
    counts = dict.fromkeys(["n_versus", "n_versus_units"], "Int64")
    return table.loc[order.index, columns].astype(counts)


def few_units(table: pd.DataFrame) -> list[str]:
    """Comparisons without an interval and a rank because they have few replicates: a sentence.

    Parameters
    ----------
    table
        From `rank_screen`.
    """
    counts = table[["n_units", "n_versus_units"]].astype("Int64")
    few = (counts < MIN_UNITS).fillna(False).any(axis=1)
    kinds = table[few].drop_duplicates(["context", "versus", "unit", "n_units", "n_versus_units"])
    lines: dict[str, None] = {}
    for row in kinds.to_dict("records"):
        where = row["context"] if isinstance(row["context"], str) else "all cells"
        n = f"{row['n_units']} {row['unit']}"
        if isinstance(row["versus"], str):
            where = f"{where} against {row['versus']}"
            n = f"{row['n_units']} and {row['n_versus_units']} {row['unit']}"
        lines[f"{where}: {n}"] = None
    some = [*lines][:MOST_LINES] + [f"{len(lines) - MOST_LINES} more"][: len(lines) > MOST_LINES]
    return [
        f"{'; '.join(some)}: with fewer than {MIN_UNITS} on a side there is no interval and no "
        "rank, because their own variation is unknown"
    ][: len(lines)]
