"""The file of a shard's embeddings, between EMBED and MERGE. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from c2sflow.common.files import write_beside
from c2sflow.data.h5ad import create_h5ad, write_element


def write_embedding(path: Path, obs: pd.DataFrame, vectors: np.ndarray, uns: Mapping) -> None:
    """Write an h5ad of obs, ``obsm["X_c2s"]`` and uns, whole or not at all.

    Parameters
    ----------
    obs
        Indexed by the cells' names.
    vectors
        float (n_obs, hidden_size).
    """
    with write_beside(path) as partial, create_h5ad(partial, obs, pd.DataFrame()) as file:
        write_element(file, "obsm/X_c2s", vectors)
        write_element(file, "uns", dict(uns))
