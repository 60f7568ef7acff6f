"""Which perturbations shift a gene set, and in which context: ranked, with bootstrap intervals.

The dual-context screen of C2S-Scale (Rizvi et al., 2025) looks for perturbations that shift a
signature in one context and not in another: the difference of the shifts, with its interval, is
what they are ranked by here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import bootstrap

from c2sflow.shift_matrices import Shifts

N_RESAMPLES = 1000
BATCH = 10  # resamples drawn at a time: another number draws other cells
BLOCK_ELEMENTS = 2**23  # of the resampled values held at a time


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


def intervals(one: np.ndarray, other: np.ndarray | None, seed: int) -> np.ndarray:
    """95 % percentile bootstrap intervals over cells, of means or of differences of means.

    Parameters
    ----------
    one, other
        float64 (n_sets, n_cells): scores on either side; None for means of `one` alone.
    seed
        The cells are drawn anew from it at each call: no interval depends on another.

    Returns
    -------
    Lower and upper ends, float64 (2, n_sets); NaN where fewer than two cells stand on a side.
    """
    sides = [one] if other is None else [one, other]
    if min(side.shape[1] for side in sides) < 2:
        return np.full((2, len(one)), np.nan)

    def difference(*sides: np.ndarray, axis: int) -> np.ndarray:
        first, *rest = (side.mean(axis=axis) for side in sides)
        return first - rest[0] if rest else first

    ends = []
    step = max(1, BLOCK_ELEMENTS // (BATCH * max(side.shape[1] for side in sides)))
    for start in range(0, len(one), step):
        found = bootstrap(
            [side[start : start + step] for side in sides],
            difference,
            n_resamples=N_RESAMPLES,
            batch=BATCH,
            axis=-1,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(seed),
        )
        ends.append(found.confidence_interval)
    return np.concatenate(ends, axis=1)


def screen_rows(
    shifts: Shifts, gene_sets: Mapping[str, Sequence[Sequence[int]]], seed: int = 42
) -> Iterator[dict]:
    """Rows of one condition, for `rank_screen`.

    A cell's signature shift is the mean log2 fold change over the genes of the set. Genes that
    stand in neither of its sentences count with 0: no shift that could be seen.

    Parameters
    ----------
    shifts
        From `c2sflow.shift_matrices.read_shifts`, with the context of the cells if there is one.
    gene_sets
        The columns of each gene of each set, see `set_means`.
    """
    scores = (shifts.folds @ set_means(gene_sets, shifts.folds.shape[1])).toarray().T
    for context, versus, one, other in _comparisons(shifts.cells):
        inside, outside = scores[:, one], None if other is None else scores[:, other]
        mean = inside.mean(axis=1) - (0 if outside is None else outside.mean(axis=1))
        ends = zip(*intervals(inside, outside, seed), strict=True)
        for name, shift, (low, high) in zip(gene_sets, mean, ends, strict=True):
            yield {
                **shifts.names,
                "gene_set": name,
                "context": context,
                "versus": versus,
                "n_cells": int(one.sum()),
                "n_versus": None if other is None else int(other.sum()),
                "shift": shift,
                "ci_low": low,
                "ci_high": high,
            }


def _comparisons(
    cells: pd.DataFrame,
) -> list[tuple[str | None, str | None, np.ndarray, np.ndarray | None]]:
    """context, versus, and the cells of either: all cells, each context, and the differences.

    Of two contexts there is one difference; of more, each is compared with the others together.
    """
    every = np.ones(len(cells), dtype=bool)
    groups = [(None, None, every, None)] if len(cells) else []
    if "context" not in cells:
        return groups
    known = cells["context"].notna().to_numpy()
    labels = cells["context"].astype(str).to_numpy()
    names = sorted(set(labels[known]))
    inside = {name: known & (labels == name) for name in names}
    groups += [(name, None, inside[name], None) for name in names]
    if len(names) == 2:
        groups.append((*names, inside[names[0]], inside[names[1]]))
    elif len(names) > 2:
        groups += [(name, "others", inside[name], known & ~inside[name]) for name in names]
    return groups


def rank_screen(rows: Sequence[Mapping]) -> pd.DataFrame:
    """The screen: conditions ranked within each gene set and comparison.

    Returns
    -------
    gene_set, context, versus, rank (1: the largest absolute shift), the columns of the condition,
    shift, ci_low, ci_high, n_cells, n_versus; differences between contexts first, as they are what
    a screen of contexts asks for.
    """
    place = ["gene_set", "context", "versus"]
    figures = ["shift", "ci_low", "ci_high", "n_cells", "n_versus"]
    table = pd.DataFrame(rows, columns=None if rows else ["condition", *place, *figures])
    filled = table[place].fillna("")
    groups = table["shift"].abs().groupby([filled[name] for name in place])
    table["rank"] = groups.rank("min", ascending=False).astype("Int64")
    order = filled.assign(
        kind=table["versus"].isna(), rank=table["rank"], condition=table["condition"]
    ).sort_values(["gene_set", "kind", "context", "versus", "rank", "condition"])
    names = [name for name in table if name not in (*place, *figures, "rank")]
    columns = [*place, "rank", *names, *figures]
    return table.loc[order.index, columns].astype({"n_versus": "Int64"})
