"""What two runs made, compared."""

import numpy as np
import pandas as pd
from anndata import AnnData


def check_same_cells(
    found: AnnData, expected: AnnData, *, obs_rtol: float = 1e-5, rtol: float = 1e-7
) -> None:
    """Batches of other sizes round obs and vectors otherwise; nothing else may differ."""
    pd.testing.assert_frame_equal(found.obs, expected.obs, rtol=obs_rtol)
    assert (found.X != expected.X).nnz == 0
    np.testing.assert_allclose(found.obsm["X_c2s"], expected.obsm["X_c2s"], rtol=rtol, atol=1e-5)
