"""Which cells are perturbed with what: decided for the whole data set, before any GPU is asked."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from c2sflow.errors import UserError
from c2sflow.perturbations import select_controls

LOGGER = logging.getLogger(__name__)

# Labels of cells that nothing was done to: never a perturbation to predict.
CONTROL_LABELS = frozenset(
    {"control", "ctrl", "ctl", "dmso", "vehicle", "untreated", "unperturbed", "unstimulated"}
    | {"mock", "none", "non-targeting", "nontargeting", "negctrl"}
)
PLAN_COLUMNS = ["shard", "cell_id", "perturbation"]


def is_perturbed(labels: pd.Series) -> pd.Series:
    """Which cells have a label, and not one of the `CONTROL_LABELS`."""
    return labels.notna() & ~labels.astype(str).str.lower().isin(CONTROL_LABELS)


def plan_predictions(
    cells: pd.DataFrame,
    *,
    perturbations: Sequence[str] = (),
    perturbation_column: str | None = None,
    control: str | None = None,
    max_cells_per_perturbation: int | None = None,
    seed: int = 42,
) -> pd.DataFrame:
    """Pairs of cell and perturbation.

    Parameters
    ----------
    cells
        shard, cell_id, sample and every obs column, all cells that passed QC, in order.
    perturbations
        Each is applied to every control cell.
    perturbation_column
        Column of obs. With `control`, its other labels are applied to the control cells; without,
        each cell is perturbed with its own label, unlabelled and control cells left out.
    control
        pandas query that picks the control cells; None picks all cells.
    max_cells_per_perturbation
        So many cells for each perturbation, chosen by a hash of seed and cell, not by position.

    Returns
    -------
    shard, cell_id and perturbation, in the order of the cells.

    Raises
    ------
    UserError
        If nothing is left to predict.
    """
    controls = select_controls(cells, control)
    if perturbation_column and not perturbations:
        labels = cells[perturbation_column]
        labelled = is_perturbed(labels)
        if control is None:
            LOGGER.info("%d cells without a perturbation are skipped", (~labelled).sum())
            plan = cells.loc[labelled, PLAN_COLUMNS[:2]].assign(perturbation=labels[labelled])
            return _check(_sample(plan, cells, max_cells_per_perturbation, seed))
        perturbations = sorted(labels[labelled & ~controls].astype(str).unique())
    chosen = cells.loc[controls, PLAN_COLUMNS[:2]]
    pairs = [chosen.assign(perturbation=name) for name in perturbations]
    plan = pd.concat(pairs) if pairs else chosen.iloc[:0].assign(perturbation="")
    return _check(_sample(plan, cells, max_cells_per_perturbation, seed))


def _sample(
    plan: pd.DataFrame, cells: pd.DataFrame, max_cells: int | None, seed: int
) -> pd.DataFrame:
    """The `max_cells` cells of each perturbation with the smallest hash, in order of the cells."""
    plan = plan.astype({"perturbation": str})
    if max_cells is not None:
        names = zip(cells["sample"][plan.index], plan["cell_id"], plan["perturbation"], strict=True)
        digests = [
            hashlib.blake2b("\0".join(map(str, (seed, *name))).encode(), digest_size=8).hexdigest()
            for name in names
        ]
        ordered = plan.assign(digest=digests).sort_values(["perturbation", "digest"])
        plan = ordered.groupby("perturbation").head(max_cells).drop(columns="digest")
    # By cell, then by perturbation: prompts of one cell stay together.
    order = np.lexsort((plan["perturbation"].to_numpy(dtype=str), plan.index))
    return plan.iloc[order].reset_index(drop=True)


def _check(plan: pd.DataFrame) -> pd.DataFrame:
    if plan.empty:
        raise UserError(
            "nothing to predict: no cell that passed QC is selected by --control and has a "
            "perturbation in --perturbations or --perturbation_column"
        )
    counts = plan["perturbation"].value_counts()
    LOGGER.info(
        "%d predictions: %d cells, %d perturbations (%d to %d cells each)",
        len(plan), len(plan[["shard", "cell_id"]].drop_duplicates()),
        len(counts), counts.min(), counts.max(),
    )  # fmt: skip
    return plan
