"""Features that are no genes stay out of genes, and are counted and kept."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import read_elem
from making import cells
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.genes.features import find_features, kind_of
from c2sflow.data.genes.other_features import NAMES, merge_features
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.data.views import View

OTHERS = {
    "Antibody Capture": "antibodies",
    "ADT": "antibodies",
    "protein": "antibodies",
    "prot": "antibodies",
    "CRISPR Guide Capture": "guides",
    "sgRNA": "guides",
    "Multiplexing Capture": "tags",
    "HTO": "tags",
    "Peaks": "peaks",
    "ATAC-seq": "peaks",
    "Custom": "custom",
    "Antigen Capture": "antigens",
    "Negative Control Probe": "controls",
    "spike-in": "spike_ins",
}
GENES = (
    "Gene Expression", "gene expression", "Gene_Expression", "GEX", "rna", "RNA", "gene",
    "protein_coding", "lncRNA", "IG_V_gene", "processed_pseudogene", "Mt_tRNA", "TEC", "ncRNA",
)  # fmt: skip


@pytest.mark.parametrize("text", GENES)
def test_types_of_genes(text):
    assert kind_of(text) == "genes"


@pytest.mark.parametrize("text", OTHERS)
@pytest.mark.parametrize("spelled", [str, str.upper, str.lower, lambda t: t.replace(" ", "_")])
def test_types_of_other_features(text, spelled):
    assert kind_of(spelled(text)) == OTHERS[text]


def mixed(kind: str = "Antibody Capture", n: int = 3, column: str = "feature_types"):
    """Cells of 34 genes and `n` other features of thousands of counts each, among the genes."""
    data = cells()
    rng = np.random.default_rng(0)
    extra = sparse.csr_matrix(rng.integers(500, 2000, (data.n_obs, n)).astype(np.float32))
    together = sparse.hstack([data.X[:, :10], extra, data.X[:, 10:]]).tocsr()
    names = [*data.var_names[:10], *[f"X{i}" for i in range(n)], *data.var_names[10:]]
    types = ["Gene Expression"] * 10 + [kind] * n + ["Gene Expression"] * (data.n_vars - 10)
    var = pd.DataFrame({column: pd.Categorical(types)}, index=names)
    layers = {"spliced": together * 0.5}
    return ad.AnnData(together, obs=data.obs, var=var, layers=layers), data, extra


def qc(path, target, **view):
    return run_qc(
        path, target, sample="s", organism="human", state=State("counts"), view=View(**view),
        filters=Filters(1, 1, 100.0), chunk_size=7,
    )  # fmt: skip


@pytest.mark.parametrize("column", ["feature_types", "feature_type", "modality", "Feature Types"])
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_other_features_are_left_out_and_kept(column, suffix, tmp_path):
    data, genes, extra = mixed(column=column)
    path = tmp_path / f"x.{suffix}"
    data.write_zarr(path) if suffix == "zarr" else data.write_h5ad(path)
    genes.write_h5ad(tmp_path / "genes.h5ad")
    figures = qc(path, tmp_path / "made.h5ad", matrix="X")
    plain = qc(tmp_path / "genes.h5ad", tmp_path / "plain.h5ad", matrix="X")
    made, expected = ad.read_h5ad(tmp_path / "made.h5ad"), ad.read_h5ad(tmp_path / "plain.h5ad")
    assert list(made.var_names) == list(expected.var_names)
    for found, wanted in [(made.X, expected.X), (made.layers["counts"], expected.layers["counts"])]:
        assert np.array_equal(found.toarray(), wanted.toarray())
    assert np.allclose(made.layers["spliced"].toarray(), made.layers["counts"].toarray() * 0.5)
    assert made.obs["total_counts"].equals(expected.obs["total_counts"])
    assert made.obs["n_genes_by_counts"].equals(expected.obs["n_genes_by_counts"])
    assert figures["features_left_out"] == {"antibodies": 3}
    assert figures["n_genes_in"] == plain["n_genes_in"]
    rows = data.obs_names.get_indexer(made.obs_names)
    assert np.array_equal(made.obsm["c2s_antibodies"].toarray(), extra.toarray()[rows])
    assert list(made.uns[NAMES]["antibodies"]) == ["X0", "X1", "X2"]


def test_all_features_can_be_taken_for_genes(tmp_path):
    data, _, _ = mixed()
    data.write_h5ad(tmp_path / "x.h5ad")
    figures = qc(tmp_path / "x.h5ad", tmp_path / "made.h5ad", matrix="X", features="all")
    made = ad.read_h5ad(tmp_path / "made.h5ad")
    assert {"X0", "X1", "X2"} <= set(made.var_names)
    assert figures["features_left_out"] == {}
    assert any("--features all" in line for line in figures["warnings"])


def var(types, names=None, **columns):
    names = names or [f"G{i}" for i in range(len(types))]
    return pd.DataFrame({"feature_types": types, **columns}, index=names)


def test_types_can_be_named():
    frame = var(["Gene Expression", "my genes", "Antibody Capture", "odd"])
    found = find_features(frame, "Gene Expression, my genes", "s (x)")
    assert list(found.is_gene) == [True, True, False, False]
    assert found.counts == {"antibodies": 1, "odd": 1}
    with pytest.raises(UserError, match=r"--features genez: not among the types.*my genes"):
        find_features(frame, "genez", "s (x)")
    with pytest.raises(UserError, match="no column of types"):
        find_features(frame[[]], "Gene Expression", "s (x)")


def test_unknown_types_are_asked_for():
    with pytest.raises(
        UserError, match=r"unknown types of features: 'odd' \(2\); --features names the types"
    ):
        find_features(var(["Gene Expression", "odd", "odd"]), "genes", "s (x)")


@pytest.mark.parametrize("kind", ["Peaks", "Antibody Capture"])
def test_a_file_without_genes_is_refused(kind):
    with pytest.raises(UserError, match=r"s \(x\): no feature is a gene \(3 (peaks|antibodies)\)"):
        find_features(var([kind] * 3), "genes", "s (x)")


def test_peaks_and_others_by_their_names():
    names = ["CD4", "chr1:100-200", "chrX-5-10", "GL000194.1:5-10", "CD3_TotalSeqB", "ERCC-00002"]
    found = find_features(pd.DataFrame(index=[*names, "HLA-A", "ERCC1", "HTO1"]), "genes", "s")
    assert found.counts == {"peaks": 3, "antibodies": 1, "spike_ins": 1, "tags": 1}
    with pytest.raises(UserError, match="no feature is a gene"):
        find_features(pd.DataFrame(index=names[1:4]), "genes", "s")


def test_a_missing_type_is_a_gene_only_by_its_identifier():
    types = ["Gene Expression", np.nan, "Antibody Capture", ""]
    ids = ["ENSG00000000001", "ENSG00000000002", "CD3", "ENSG00000000003"]
    frame = var(pd.Categorical(types), gene_ids=ids)
    assert list(find_features(frame, "genes", "s").is_gene) == [True, True, False, True]
    frame["gene_ids"] = ["ENSG00000000001", "x", "CD3", "ENSG00000000003"]
    with pytest.raises(UserError, match=r"empty for 1 features .such as 'G1'.: are they genes"):
        find_features(frame, "genes", "s")


def test_biotypes_of_cellxgene_are_genes():
    frame = pd.DataFrame(
        {"feature_biotype": ["gene", "gene", "gene", "spike-in"],
         "feature_type": ["protein_coding", "lncRNA", "something new", "synthetic"]},
        index=[f"ENSG0000000000{i}" for i in range(4)],
    )  # fmt: skip
    assert list(find_features(frame, "genes", "s").is_gene) == [True, True, True, False]


def test_mudata_is_refused_with_the_way_out(tmp_path):
    with h5py.File(tmp_path / "x.h5mu", "w") as file:
        file.create_group("mod/rna")
    with pytest.raises(UserError, match=r"MuData.*\['rna'\]\.write_h5ad"):
        open_anndata(tmp_path / "x.h5mu")


def test_features_of_samples_are_joined_by_name(tmp_path):
    """Another panel in another order, a sample without any, an earlier run's result as input."""
    first, _, extra = mixed(n=3)
    second, _, other = mixed(n=2)
    second.var_names = [{"X0": "X2", "X1": "new"}.get(name, name) for name in second.var_names]
    paths = [tmp_path / f"qc{n}.h5ad" for n in range(4)]
    for data, path in zip([first, second, cells()], paths, strict=False):
        qc(data, path, matrix="X")
    qc(paths[0], paths[3], matrix="layers/counts")  # a second run
    sizes = [ad.read_h5ad(path, backed="r").n_obs for path in paths]
    with h5py.File(tmp_path / "out.h5ad", "w") as file:
        file.create_group("obsm")
        names = list(merge_features(paths, file)[NAMES]["antibodies"])
        assert merge_features(paths[2:3], file) == {}
        found = read_elem(file["obsm/c2s_antibodies"]).toarray()
    assert names == ["X0", "X1", "X2", "new"]
    expected = np.zeros((sum(sizes), 4))
    rows = [slice(sum(sizes[:n]), sum(sizes[: n + 1])) for n in range(4)]
    kept = [first.obs_names.get_indexer(ad.read_h5ad(path).obs_names) for path in paths]
    for n in (0, 3):
        expected[rows[n], :3] = extra.toarray()[kept[n]]
    expected[rows[1], 2:] = other.toarray()[kept[1]]
    assert np.array_equal(found, expected)
