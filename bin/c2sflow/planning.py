"""Which cells are perturbed with what: decided for the whole data set, before any GPU is asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from c2sflow.draws import cell_draws
from c2sflow.errors import UserError
from c2sflow.figure_cells import figure_cells
from c2sflow.no_ops import COMPARED_WITH, NO_OP, NoOps, filled
from c2sflow.obs_labels import is_control, is_perturbed
from c2sflow.obs_queries import select_cells
from c2sflow.perturbations import Treatment

LOGGER = logging.getLogger(__name__)

CELL = ["shard", "cell_id"]


def plan_predictions(
    cells: pd.DataFrame,
    *,
    treatments: Sequence[Treatment] = (),
    perturbation_column: str | None = None,
    control: str | None = None,
    training_cells: str | None = None,
    max_cells_per_perturbation: int | None = None,
    seed: int = 42,
    no_ops: NoOps | None = None,
) -> pd.DataFrame:
    """Pairs of cell and condition.

    Parameters
    ----------
    cells
        shard, cell_id, sample and every obs column, all cells that passed QC, in order.
    treatments
        Each is applied to every control cell that its own query selects.
    perturbation_column
        Column of obs, if there are no treatments. With `control`, its other labels are applied to
        the control cells; without, each cell is perturbed with its own label, unlabelled and
        control cells left out.
    control
        pandas query that picks the control cells; None picks all cells.
    training_cells
        See `c2sflow.figure_cells.figure_cells`: none of these is perturbed.
    max_cells_per_perturbation
        So many cells for each treatment that does not say itself how many, chosen by a hash of
        seed, cell and condition, not by position.
    no_ops
        Each cell that gets a treatment gets its no-op too, once for all treatments that share it.

    Returns
    -------
    shard, cell_id, condition, perturbation and the columns of the treatments, in the order of the
    cells; each cell once for each condition. With `no_ops` also `NO_OP`, whether a row is one, and
    `COMPARED_WITH`, the condition of the cell's no-op that a prediction is compared with; missing
    where the cell lacks what the no-op says, as a cell without a type does.

    Raises
    ------
    UserError
        If nothing is left to predict.
    """
    parts = []
    usable = figure_cells(cells, training_cells)
    if usable.known:
        LOGGER.info(
            "plan: predictions are of the %d of %d cells that the model was not trained on",
            usable.held_out.sum(), len(cells),
        )  # fmt: skip
    if treatments:
        controls = _controls(cells, control)
        applied = _applied(cells, treatments, controls)
    else:
        applied = _labelled(cells, perturbation_column, control)
    for treatment, rows in applied:
        most = treatment.n_cells or max_cells_per_perturbation
        rows = rows[usable.held_out[rows]]
        rows = _sample(cells, rows, treatment.condition, most, seed)
        pairs = _pairs(cells, rows, treatment)
        parts += [pairs] if no_ops is None else _with_no_op(cells, pairs, no_ops.of(treatment))
    plan = pd.concat(parts) if parts else pd.DataFrame(columns=[*CELL, "condition"])
    # By cell, then by condition: prompts of one cell stay together.
    plan = plan.iloc[np.lexsort((plan["condition"].to_numpy(dtype=str), plan.index))]
    plan = plan.drop_duplicates([*CELL, "condition"]).reset_index(drop=True)
    if plan.empty:
        raise UserError(
            "nothing to predict: no cell that passed QC is selected by --control, is not among the "
            "--training_cells and has a perturbation in --perturbations or --perturbation_column"
        )
    return plan


def _controls(cells: pd.DataFrame, control: str | None) -> np.ndarray:
    controls = select_cells(cells, control, "--control")
    if control is not None:
        LOGGER.info(
            "plan: %d of %d cells are control cells; the others are not perturbed",
            controls.sum(), len(cells),
        )  # fmt: skip
    return controls


def _applied(
    cells: pd.DataFrame, treatments: Sequence[Treatment], controls: np.ndarray
) -> Iterator[tuple[Treatment, np.ndarray]]:
    """Each treatment and the positions of its cells."""
    chosen = {None: controls}
    for treatment in treatments:
        query = treatment.cell_query
        if query not in chosen:
            where = f"{treatment.where}: cell_query"
            chosen[query] = controls & select_cells(cells, query, where)
        rows = np.flatnonzero(chosen[query])
        if not rows.size:
            LOGGER.warning(
                "plan: %s: no cell that passed QC is left for %s", treatment.where,
                treatment.condition,
            )  # fmt: skip
        yield treatment, rows


def _labelled(
    cells: pd.DataFrame, column: str, control: str | None
) -> Iterator[tuple[Treatment, np.ndarray]]:
    """Each label of the column and the positions of the cells that it is applied to."""
    labels = cells[column]
    perturbed = is_perturbed(labels).to_numpy(copy=True)
    own = is_control(labels).to_numpy(copy=True)
    if control is None:
        LOGGER.info(
            "plan: %d cells without a label in %s and %d labelled as control are skipped",
            (~perturbed & ~own).sum(), column, own.sum(),
        )  # fmt: skip
        rows_of = pd.Series(np.flatnonzero(perturbed)).groupby(
            labels[perturbed].astype(str).to_numpy()
        )
        for name, rows in rows_of:
            yield Treatment(name, name, "--perturbation_column"), rows.to_numpy()
        return
    controls = _controls(cells, control)
    LOGGER.info(
        "plan: of the other cells, %d give their label in %s; %d without a label and %d labelled "
        "as control are skipped", (perturbed & ~controls).sum(), column,
        (~perturbed & ~own & ~controls).sum(), (own & ~controls).sum(),
    )  # fmt: skip
    for name in sorted(labels[perturbed & ~controls].astype(str).unique()):
        yield Treatment(name, name, "--perturbation_column"), np.flatnonzero(controls)


def _sample(
    cells: pd.DataFrame, rows: np.ndarray, condition: str, most: int | None, seed: int
) -> np.ndarray:
    """The `most` of these cells with the smallest hash; ties, if ever, by their names."""
    if most is None or len(rows) <= most:
        return rows
    draws = cell_draws(cells.iloc[rows], seed, condition)
    return rows[sorted(range(len(rows)), key=draws.__getitem__)[:most]]


def _pairs(cells: pd.DataFrame, rows: np.ndarray, treatment: Treatment) -> pd.DataFrame:
    pairs = cells.iloc[rows][CELL].set_axis(rows)
    pairs["condition"], pairs["perturbation"] = treatment.condition, treatment.perturbation
    for name, value in treatment.columns.items():
        pairs[name] = value or None
    return pairs


def _with_no_op(
    cells: pd.DataFrame, pairs: pd.DataFrame, no_op: Treatment | None
) -> list[pd.DataFrame]:
    """The pairs, and those of the same cells with the no-op that they are compared with."""
    pairs = pairs.assign(**{NO_OP: False, COMPARED_WITH: None})
    if no_op is None:
        return [pairs]
    rows = pairs.index.to_numpy()
    matched = _pairs(cells, rows, no_op).assign(**{NO_OP: True, COMPARED_WITH: None})
    matched["perturbation"] = filled(no_op.perturbation, cells.iloc[rows])
    known = matched["perturbation"].notna().to_numpy()
    pairs[COMPARED_WITH] = np.where(known, no_op.condition, None)
    return [pairs, matched[known]]
