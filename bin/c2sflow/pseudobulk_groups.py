"""Groups of cells whose counts are summed, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

from c2sflow.organisms import COLUMN as ORGANISM

# Columns of QC that are said anew of the sums.
OF_CELLS = ("n_genes_by_counts", "total_counts", "total_counts_mt", "pct_counts_mt")


def read_columns(text: str | None) -> list[str]:
    """The columns that --pseudobulk names, with commas between."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def group_cells(obs: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Group of each cell, int (n_obs,), in the order of the groups' names; -1 where one is missing.

    Cells of different organisms are never in one group: their genes are not the same.
    """
    organism = next((name for name in (ORGANISM, "organism") if name in obs), None)
    names = [*columns, *([organism] if organism and organism not in columns else [])]
    keys = [obs[name].astype(object).where(obs[name].notna()).map(str, "ignore") for name in names]
    groups = obs.groupby(keys, sort=True, observed=True, dropna=True).ngroup()
    return groups.fillna(-1).to_numpy(dtype=int)


def pseudobulk_obs(
    obs: pd.DataFrame, columns: Sequence[str], groups: np.ndarray | None = None
) -> pd.DataFrame:
    """Annotation of the groups.

    Parameters
    ----------
    obs
        Of the cells.
    columns
        What they are grouped by.
    groups
        From `group_cells`, if that is known.

    Returns
    -------
    A row for each group, named by its values with "_" between: `columns`, those other columns that
    say the same of all cells of each group, and ``n_cells``.
    """
    groups = group_cells(obs, columns) if groups is None else groups
    own = obs[groups >= 0].drop(columns=list(OF_CELLS), errors="ignore")
    by_group = own.groupby(groups[groups >= 0], sort=True)
    same = [
        name for name in own if name in columns or (by_group[name].nunique(dropna=False) <= 1).all()
    ]
    made = own[same].iloc[np.unique(groups[groups >= 0], return_index=True)[1]].copy()
    for name in made.select_dtypes("category"):
        made[name] = made[name].cat.remove_unused_categories()
    made["n_cells"] = by_group.size().to_numpy()
    names = ["_".join(map(str, row)) for row in made[list(columns)].itertuples(index=False)]
    return made.set_axis(make_index_unique(pd.Index(names, dtype=object)), axis=0)
