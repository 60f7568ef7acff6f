"""Pseudobulk: counts summed over the cells of a group, one bulk-like sample each. Streaming."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy import sparse

from c2sflow.anndata_io import open_anndata
from c2sflow.bulk import TOP_GENES, bulk_table
from c2sflow.elements import write_element
from c2sflow.errors import UserError
from c2sflow.filtered_genes import PLACE, FilteredWriter
from c2sflow.h5ad_writing import RowWriter, create_h5ad, row_blocks
from c2sflow.normalisation import LOG_BASE, normalise
from c2sflow.provenance import write_beside
from c2sflow.pseudobulk_groups import group_cells, pseudobulk_obs
from c2sflow.qc_survey import cell_metrics
from c2sflow.states import State
from c2sflow.symbols import is_mitochondrial

LOGGER = logging.getLogger(__name__)
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
        h5ad with ``layers["counts"]``, from `c2sflow.qc.run_qc`.
    target
        h5ad to write, as `run_qc` writes them, with a row for each group: X, ``layers["counts"]``
        (sums), obs of `pseudobulk_obs` with the metrics of `c2sflow.qc_survey.cell_metrics`. obsm
        and other layers are not summed, and left out.
    columns
        Columns of obs that tell the groups apart.
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
    mitochondrial = np.asarray(is_mitochondrial(var.index), dtype=bool)
    metrics = cell_metrics(sums, mitochondrial, counts, TOP_GENES)
    obs = obs.assign(**{name: column.to_numpy() for name, column in metrics.items()})
    with write_beside(target) as partial, create_h5ad(partial, obs, var) as file:
        write_element(file, "uns", {"log1p": {"base": LOG_BASE}})
        RowWriter(file, "X", len(var)).append(normalise(sums, counts))
        RowWriter(file, "layers/counts", len(var)).append(sums)
        beside = FilteredWriter(file, filtered_var)
        beside.append("X", normalise(filtered, counts, total_of=sums))
        beside.append("layers/counts", filtered)
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
