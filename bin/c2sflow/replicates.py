"""Replicates, the donors or samples that cells come from: means over the cells of each."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse


def replicate_means(values: np.ndarray | sparse.spmatrix, labels: pd.Series) -> pd.DataFrame:
    """Mean of each replicate's cells: its pseudobulk.

    Parameters
    ----------
    values
        (n_cells, n_columns).
    labels
        Replicate of each cell; cells without one are left out.

    Returns
    -------
    float64, a row for each replicate, by name.
    """
    known = labels.notna().to_numpy()
    codes, names = pd.factorize(labels[known].astype(str), sort=True)
    counts = np.bincount(codes, minlength=len(names))
    member = sparse.csr_matrix(
        (1 / counts[codes], (codes, np.flatnonzero(known))), (len(names), len(labels))
    )
    means = member @ values
    means = means.toarray() if sparse.issparse(means) else np.asarray(means)
    return pd.DataFrame(means.astype(np.float64), index=names)
