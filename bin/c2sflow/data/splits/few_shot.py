"""Few training cells of each perturbation and context: what a model learns of little data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from c2sflow.data.sampling import cell_draws


def chances(obs: pd.DataFrame, seed: int, purpose: str) -> np.ndarray:
    """A number from 0 to 1 for each cell, by seed, sample and name alone: float64 (n_cells,)."""
    cells = pd.DataFrame({"sample": obs["sample"].astype(str), "cell_id": obs.index})
    draws = cell_draws(cells, seed, purpose)
    return np.array([int.from_bytes(key[:8], "big") for key in draws], dtype=float) / 2**64


def few_groups(contexts: pd.Series, labels: pd.Series, controls: np.ndarray) -> pd.Series:
    """Perturbation and context of each perturbed cell, as text; None for all others.

    Parameters
    ----------
    contexts, labels
        Text of each cell, None where there is none; labels None for all where no perturbation is
        known: then the groups are the contexts.
    controls
        bool (n_cells,): all control cells stay.
    """
    if labels.isna().all():
        return contexts
    texts = labels.astype(str) + "\n" + contexts.fillna("").astype(str)
    return texts.astype(object).where(labels.notna() & ~controls, None)


def left_out(
    groups: pd.Series, draws: np.ndarray, few: float, ends: Mapping[str, float]
) -> np.ndarray:
    """Which cells are beyond what is kept of their group: bool (n_cells,).

    Parameters
    ----------
    few
        Below 1 a share, else a number of cells.
    ends
        Of groups with more than that number, the greatest draw that is kept.
    """
    if few < 1:
        return groups.notna().to_numpy() & (draws >= few)
    return draws > groups.map(dict(ends)).fillna(1.0).to_numpy(dtype=float)


def lowest_draws(groups: pd.DataFrame, few: int) -> pd.DataFrame:
    """Of cells with the columns group, split and draw, the `few` lowest of each group and split."""
    ordered = groups.sort_values("draw")
    return ordered[ordered.groupby(["group", "split"], sort=False).cumcount() < few]


def group_ends(kept: pd.DataFrame, few: int) -> dict[str, float]:
    """The greatest draw that is kept of each group of the training cells with more than `few`."""
    ranked = kept.sort_values("draw")
    numbers = ranked.groupby("group", sort=False).cumcount()
    sizes = ranked.groupby("group")["draw"].transform("size")
    last = ranked[(numbers == few - 1) & (sizes > few)]
    return dict(zip(last["group"], last["draw"].astype(float), strict=True))
