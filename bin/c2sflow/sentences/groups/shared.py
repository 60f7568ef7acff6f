"""What the cells of a group have in common: the values of obs that all of them have."""

from __future__ import annotations

import numpy as np
import pandas as pd


def shared_values(obs: pd.DataFrame, order: np.ndarray, starts: np.ndarray) -> pd.DataFrame:
    """Each column's value of each group, missing where its cells differ or one has none.

    Parameters
    ----------
    obs
        Of cells.
    order
        int: rows of obs, a group after the other.
    starts
        int (n_groups,): place in `order` of each group's first cell.

    Returns
    -------
    A row for each group; categories stay categories, whole numbers and booleans stay what they are
    where each group has one value, else they are Python's.
    """
    return pd.DataFrame({name: _shared(obs[name], order, starts) for name in obs})


def _shared(values: pd.Series, order: np.ndarray, starts: np.ndarray) -> pd.Series:
    first = values.iloc[order[starts]].reset_index(drop=True)
    if not len(starts):
        return first
    codes = pd.factorize(values)[0][order]  # -1: missing
    lowest, highest = np.minimum.reduceat(codes, starts), np.maximum.reduceat(codes, starts)
    same = (lowest == highest) & (lowest >= 0)
    if same.all() or isinstance(values.dtype, pd.CategoricalDtype):
        return first.where(same)
    return first.astype(object).where(same, None)
