"""Principal components by blocks are scanpy's."""

import numpy as np
import pytest
import scanpy as sc

from c2sflow.data import backed
from c2sflow.data.readers import open_anndata
from c2sflow.sentences.groups.neighbours import principal_components


@pytest.mark.parametrize("elements", [2**25, 765 * 90])
def test_as_scanpy(pbmc, monkeypatch, elements):
    monkeypatch.setattr(backed, "CHUNK_ELEMENTS", elements)
    dense = pbmc.X.toarray()
    genes = np.sort(np.argsort(-dense.var(axis=0), kind="stable")[:200])
    expected = sc.pp.pca(dense[:, genes].astype(np.float64), n_comps=10, svd_solver="full")
    with open_anndata(pbmc) as data:
        found = principal_components(data, n_genes=200, n_components=10)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-3)


def test_fewer_cells_than_components(pbmc):
    with open_anndata(pbmc[:3].copy()) as data:
        assert principal_components(data).shape == (3, 2)
