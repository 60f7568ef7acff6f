"""Naming some of the cells in one line: how many, which values of obs set them apart, the first."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Columns that often hold batches come first; any other that separates them will do.
BATCH_COLUMNS = (
    "sample", "sample_id", "batch", "donor", "donor_id", "dataset", "dataset_id", "library",
    "study", "assay", "orig.ident",
)  # fmt: skip
MOST_VALUES, SHOWN_VALUES, SHOWN_NAMES = 1000, 4, 3


def batch_columns(obs: pd.DataFrame) -> list[str]:
    """Columns of obs with few values, each of several cells; those named like batches first."""
    columns = []
    for name in obs.columns:
        column = obs[name]
        if isinstance(column, pd.DataFrame) or column.dtype.kind in "fcmM":
            continue
        try:
            n_values = column.nunique()
        except TypeError:  # lists and the like
            continue
        if 2 <= n_values <= min(MOST_VALUES, len(obs) / 2):
            columns.append(name)
    order = {name: number for number, name in enumerate(BATCH_COLUMNS)}
    return sorted(columns, key=lambda name: order.get(str(name).lower(), len(order)))


def name_cells(cells: np.ndarray, obs: pd.DataFrame) -> str:
    """What sets some cells apart.

    Parameters
    ----------
    cells
        bool (n_obs,): which.
    obs
        Of all cells.

    Returns
    -------
    ``15 of 100 cells (batch: b2; AAAC-1, AAAG-1, …)``; the values of a column of obs only where
    they hold exactly these cells.
    """
    parts = []
    for name in batch_columns(obs) if 0 < cells.sum() < len(obs) else []:
        column = obs[name].astype(str).to_numpy()
        inside, outside = set(column[cells]), set(column[~cells])
        if not inside & outside:
            shown = sorted(inside)[:SHOWN_VALUES]
            more = " …" if len(inside) > SHOWN_VALUES else ""
            parts.append(f"{name}: {', '.join(shown)}{more}")
            break
    names = obs.index[np.flatnonzero(cells)[:SHOWN_NAMES]].astype(str)
    if cells.sum() < len(obs):
        parts.append(", ".join(names) + (" …" if cells.sum() > SHOWN_NAMES else ""))
    detail = f" ({'; '.join(parts)})" if parts else ""
    return f"{cells.sum():,} of {len(obs):,} cells{detail}"
