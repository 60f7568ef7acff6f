"""Genes that mark the groups of the cells shown, and their expression."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
from anndata.io import sparse_dataset
from scipy import sparse

from c2sflow.common.statistics import moments_of_sums
from c2sflow.data.h5ad import log_base
from c2sflow.data.stored import read_element

MOST_GENES = 12
MIN_GROUP = 3  # cells of a group that is ranked


def read_markers(file: h5py.File, rows: np.ndarray, groups: pd.Series) -> pd.DataFrame:
    """Expression of the genes that mark the groups most clearly.

    Parameters
    ----------
    file
        c2s.h5ad, open.
    rows
        Positions of the cells, ascending; only these rows of X are read.
    groups
        Group of each of these cells, categorical; missing: none.

    Returns
    -------
    float32 (n_cells, at most `MOST_GENES`), log10(1 + x); a column per gene, none without two
    groups of at least `MIN_GROUP` cells.
    """
    sizes = groups.value_counts()
    names = [name for name in groups.cat.categories if sizes[name] >= MIN_GROUP]
    if len(names) < 2:
        return pd.DataFrame(index=pd.RangeIndex(len(rows)))
    expression = sparse.csr_matrix(sparse_dataset(file["X"])[rows])
    expression.data *= np.float32(np.log10(log_base(file)))  # whatever the base of the results
    scores = group_scores(expression, groups.cat.set_categories(names))
    chosen = strongest(scores, MOST_GENES)
    var = file["var"]
    genes = np.asarray(read_element(var[var.attrs["_index"]]), dtype=str)
    values = expression[:, chosen].toarray().astype(np.float32)
    return pd.DataFrame(values, columns=genes[chosen])


def group_scores(expression: sparse.csr_matrix, groups: pd.Series) -> np.ndarray:
    """Welch's t of each group against all other cells that have one, float (n_groups, n_genes).

    What ``scanpy.tl.rank_genes_groups`` ranks by (method ``t-test``), whose requirements would
    double this step's container.
    """
    codes = groups.cat.codes.to_numpy()
    expression = expression[codes >= 0].astype(np.float64)
    codes = codes[codes >= 0]
    n_groups = len(groups.cat.categories)
    member = sparse.csr_matrix(
        (np.ones(len(codes)), (codes, np.arange(len(codes)))), (n_groups, len(codes))
    )
    n = np.bincount(codes, minlength=n_groups)[:, None]
    sums = (member @ expression).toarray()
    squares = (member @ expression.multiply(expression)).toarray()
    own, own_variance, _ = moments_of_sums(sums, squares, n)
    others = sums.sum(axis=0) - sums, squares.sum(axis=0) - squares, n.sum() - n
    rest, rest_variance, _ = moments_of_sums(*others)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = (own - rest) / np.sqrt(own_variance + rest_variance)
    return np.where(np.isnan(scores), 0.0, scores)


def strongest(scores: np.ndarray, most: int) -> np.ndarray:
    """Columns of the genes with the highest score in a group: one of each group, then the next.

    Within a round the group with the highest score comes first.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    chosen: dict[int, None] = {}
    for place in range(order.shape[1]):
        genes = order[:, place]
        own = scores[np.arange(len(scores)), genes]
        for group in np.argsort(-own, kind="stable"):
            if own[group] > 0 and len(chosen) < most:
                chosen.setdefault(int(genes[group]))
    return np.array(list(chosen), dtype=int)
