"""Labels of cells in obs: which mark controls, and which are no labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Labels of cells that nothing was done to: never a perturbation to predict.
CONTROL_LABELS = frozenset(
    {"control", "ctrl", "ctl", "dmso", "vehicle", "untreated", "unperturbed", "unstimulated"}
    | {"mock", "none", "non-targeting", "nontargeting", "negctrl"}
)
# How files spell that there is no label. Exactly so: "Na" may be sodium.
NO_LABELS = frozenset({"", "NA", "N/A", "<NA>", "NaN", "nan"})


def is_control(labels: pd.Series) -> pd.Series:
    """Which cells have one of the `CONTROL_LABELS`."""
    return labels.notna() & labels.astype(str).str.strip().str.lower().isin(CONTROL_LABELS)


def is_labelled(labels: pd.Series) -> pd.Series:
    """Which cells have a label, and not what files write for none."""
    return labels.notna() & ~labels.astype(str).str.strip().isin(NO_LABELS)


def where_known(known: np.ndarray | pd.Series, values: np.ndarray | str) -> np.ndarray:
    """These values where they are known, None elsewhere; object (n_cells,)."""
    return np.where(known, values, np.array(None, dtype=object))


def is_perturbed(labels: pd.Series) -> pd.Series:
    """Which cells have a label that is not one of the `CONTROL_LABELS`."""
    return is_labelled(labels) & ~is_control(labels)
