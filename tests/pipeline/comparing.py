"""What two runs made, compared."""

import numpy as np
import pandas as pd
from anndata import AnnData


def check_same_cells(found: AnnData, expected: AnnData) -> None:
    """Batches of other sizes round otherwise; nothing else may differ."""
    pd.testing.assert_frame_equal(found.obs, expected.obs, rtol=1e-4)
    assert (found.X != expected.X).nnz == 0
    np.testing.assert_allclose(found.obsm["X_c2s"], expected.obsm["X_c2s"], rtol=1e-4, atol=1e-5)
