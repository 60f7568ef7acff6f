"""Pseudobulk: counts of cells summed by groups of obs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from anndata.utils import make_index_unique
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.common.files import write_beside
from c2sflow.data.bulk.bulk import TOP_GENES, bulk_table
from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.genes.symbols import is_mitochondrial
from c2sflow.data.h5ad import RowWriter, create_h5ad, row_blocks, write_element
from c2sflow.data.qc.filtered_genes import PLACE, FilteredWriter
from c2sflow.data.qc.survey import cell_metrics
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import LOG_BASE, State, normalise, row_factors

LOGGER = logging.getLogger(__name__)
# Columns of QC that are computed again for the sums.
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
    are constant within every group, and ``n_cells``.
    """
    groups = group_cells(obs, columns) if groups is None else groups
    own = obs[groups >= 0].drop(columns=list(OF_CELLS), errors="ignore")
    by_group = own.groupby(groups[groups >= 0], sort=True)
    same = [
        name for name in own if name in columns or (by_group[name].nunique(dropna=False) <= 1).all()
    ]
    groups_obs = own[same].iloc[np.unique(groups[groups >= 0], return_index=True)[1]].copy()
    for name in groups_obs.select_dtypes("category"):
        groups_obs[name] = groups_obs[name].cat.remove_unused_categories()
    groups_obs["n_cells"] = by_group.size().to_numpy()
    names = ["_".join(map(str, row)) for row in groups_obs[list(columns)].itertuples(index=False)]
    return groups_obs.set_axis(make_index_unique(pd.Index(names, dtype=object)), axis=0)


BLOCK = 4096  # rows of filtered genes read at a time


def run_pseudobulk(
    source: str | Path,
    target: str | Path,
    columns: Sequence[str],
    *,
    chunk_size: int | None = None,
) -> dict:
    """Sum the counts of one sample's cells by group, from one h5ad of QC to another.

    Parameters
    ----------
    source
        h5ad with ``layers["counts"]``, from `c2sflow.data.qc.qc.run_qc`.
    target
        h5ad to write, as `run_qc` writes them, with a row for each group: X, ``layers["counts"]``
        (sums), obs of `pseudobulk_obs` with the metrics of `c2sflow.data.qc.survey.cell_metrics`.
        obsm and other layers are not summed, and left out.
    columns
        Columns of obs that define the groups.
    chunk_size
        Cells read at once; None bounds memory. The sums are kept: groups × genes.

    Returns
    -------
    Figures for ``qc.json``.

    Raises
    ------
    UserError
        If there are no counts, or no cell has a group.
    """
    with open_anndata(source) as data:
        if "counts" not in data.layers:
            raise UserError(f"{data.label}: --pseudobulk sums raw counts, and there are none")
        groups = group_cells(data.obs, columns)
        if (groups < 0).all():
            raise UserError(f"{data.label}: --pseudobulk: no cell has a value in {columns}")
        n_groups = int(groups.max()) + 1
        sums = _sums(data.chunks(chunk_size, "counts"), groups, data.n_vars)
        obs = pseudobulk_obs(data.obs, columns, groups)
        var = data.var
    filtered_var, filtered = _filtered_sums(source, groups)
    counts = State("counts")
    mitochondrial = is_mitochondrial(var.index)
    metrics = cell_metrics(sums, mitochondrial, counts, TOP_GENES)
    obs = obs.assign(**{name: column.to_numpy() for name, column in metrics.items()})
    with write_beside(target) as partial, create_h5ad(partial, obs, var) as file:
        write_element(file, "uns", {"log1p": {"base": LOG_BASE}})
        matrix = RowWriter(file, "X", len(var), ["layers/counts"])
        factors = row_factors(sums, counts)
        matrix.append(normalise(sums, counts, factors=factors), sums)
        FilteredWriter(file, filtered_var).append(
            {"X": normalise(filtered, counts, factors=factors), "layers/counts": filtered}
        )
    left_out = int((groups < 0).sum())
    warnings = [f"{left_out} cells have no {' or '.join(columns)}: left out"] if left_out else []
    sizes = obs["n_cells"]
    LOGGER.info("%d pseudobulk samples of %d to %d cells", n_groups, sizes.min(), sizes.max())
    return {
        "pseudobulk": {"by": list(columns), "n_samples": n_groups},
        "bulk_samples": bulk_table(obs),
        "warnings": warnings,
    }


def _sums(
    blocks: Iterable[tuple[int, sparse.csr_matrix]], groups: np.ndarray, n_genes: int
) -> sparse.csr_matrix:
    """Sum of each group's rows, float64 (n_groups, n_genes); `blocks` with their first rows."""
    n_groups = int(groups.max()) + 1
    sums = sparse.csr_matrix((n_groups, n_genes))
    for start, block in blocks:
        own = groups[start : start + block.shape[0]]
        rows = np.flatnonzero(own >= 0)
        member = sparse.csr_matrix(
            (np.ones(rows.size), (own[rows], rows)), shape=(n_groups, len(own))
        )
        sums = sums + member @ block.astype(np.float64)
    sums.sort_indices()
    return sums


def _filtered_sums(
    source: str | Path, groups: np.ndarray
) -> tuple[pd.DataFrame, sparse.csr_matrix]:
    """var of the genes that QC filtered, and the groups' sums of their counts."""
    with h5py.File(source) as file:
        if PLACE not in file:
            return pd.DataFrame(), sparse.csr_matrix((int(groups.max()) + 1, 0))
        var, item = read_elem(file[f"{PLACE}/var"]), file[f"{PLACE}/layers/counts"]
        blocks = zip(range(0, len(groups), BLOCK), row_blocks(item, BLOCK), strict=True)
        return var, _sums(blocks, groups, len(var))
