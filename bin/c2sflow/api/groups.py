"""Groups of cells of a table of cell sentences, for a notebook: as GROUPS draws and writes them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from c2sflow.api.config import Cell2SenConfig
from c2sflow.api.sentence_table import SAMPLE, check_table
from c2sflow.common.errors import UserError
from c2sflow.data.obs.held_values import offer_columns
from c2sflow.data.obs.shard_columns import N_GENES
from c2sflow.sentences.groups import drawing
from c2sflow.sentences.groups.drawing import NEIGHBOURS, Grouping, draw_groups
from c2sflow.sentences.groups.shared import shared_values
from c2sflow.sentences.groups.text import join_sentences

MADE = ("cell_id", "cell_sentence", "n_genes", "fit_parameters", "perturbations")  # of each cell


def group_table(
    table: pd.DataFrame, config: Cell2SenConfig, points: np.ndarray | None = None
) -> pd.DataFrame:
    """A row a group: see `c2sflow.api.cell2sen.Cell2Sen.group_cells`."""
    check_table(table)
    grouping = _grouping(table, config, points)
    cells = table.reset_index(drop=True)
    cells = cells.assign(**{N_GENES: table["n_genes"].to_numpy()})
    groups = draw_groups(cells, grouping, points)
    members = np.split(groups.order, groups.starts[1:]) if groups.n_groups else []
    shared = cells.drop(columns=[*MADE, N_GENES])
    made = shared_values(shared, groups.order, groups.starts)
    sentences, ids = cells["cell_sentence"].to_numpy(), cells["cell_id"].to_numpy()
    names = [f"{SAMPLE}|group_{number:05d}" for number in range(groups.n_groups)]
    made = made.assign(
        cell_id=names,
        num_cells=groups.sizes.astype(np.int32),
        cell_sentence=[join_sentences(sentences[rows]) for rows in members],
        n_genes=[int(cells["n_genes"].to_numpy()[rows].max()) for rows in members],
        members=[ids[rows].tolist() for rows in members],
    )
    made.attrs = dict(table.attrs)
    return made.set_axis(names, axis=0)


def _grouping(table: pd.DataFrame, config: Cell2SenConfig, points: np.ndarray | None) -> Grouping:
    """How cells are grouped, by the settings; checked."""
    if config.cells_per_prompt is None:
        raise UserError("groups of cells: set cells_per_prompt, to 10 for example")
    by = config.group_by
    if by != drawing.SAMPLE:
        by = table.attrs["input_columns"].get(by, by)
    if by == NEIGHBOURS and points is None:
        raise UserError(
            f"group_by {NEIGHBOURS!r} needs points: where the cells are, such as "
            "adata.obsm['X_pca']"
        )
    if by != NEIGHBOURS and points is not None:
        raise UserError(f"points are for group_by {NEIGHBOURS!r}, and it is {config.group_by!r}")
    if points is not None and len(points) != len(table):
        raise UserError(f"points: {len(points)} rows for {len(table)} cells")
    if by != NEIGHBOURS and by not in table:
        raise UserError(
            f"group_by {config.group_by!r}: obs has no such column {offer_columns(table, by)}"
        )
    return Grouping(config.cells_per_prompt, by, seed=config.seed)
