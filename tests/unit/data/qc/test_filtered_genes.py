"""A gene below --min_cells in one sample, kept in another: its values are in c2s.h5ad, no 0."""

import json
import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata.utils import make_index_unique
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from c2sflow.common.files import write_json
from c2sflow.data.bulk.pseudobulk import run_pseudobulk
from c2sflow.data.genes.alignment import GeneAlignment, GeneTable, repeated_symbols
from c2sflow.data.qc.filtered_genes import PLACE, FilteredColumns
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.evaluation.run_reader import RunCells, RunFiles
from c2sflow.results import copying
from c2sflow.results.merge import merge_samples
from c2sflow.results.shards import Sample
from c2sflow.sentences.shards import write_shards

N_CELLS, N_GENES = 30, 60
MIN_CELLS = 8


def raw_counts(seed: int) -> pd.DataFrame:
    """Counts of one sample; genes differ in how many cells express them, and by sample."""
    rng = np.random.default_rng(seed)
    means = rng.permutation(np.geomspace(0.02, 5, N_GENES))
    values = rng.poisson(means, (N_CELLS, N_GENES)).astype(np.float32)
    values[:, 0] += 3  # no cell is empty
    genes = rng.permutation([f"ENSG{n:011d}" for n in range(N_GENES)])
    return pd.DataFrame(values, [f"s{seed}c{n}" for n in range(N_CELLS)], genes)


def run_steps(folder, name, raw, by_id, pseudobulk=False):
    """QC, SENTENCES and embeddings of one sample."""
    symbols = pd.Index([f"G{gene[-3:]}" for gene in raw.columns])
    if by_id:  # three genes have the symbol of another, in any order
        symbols = make_index_unique(pd.Index([f"G{max(int(s[1:]), 3)}" for s in symbols]), "-")
    var = pd.DataFrame({"gene_ids": raw.columns} if by_id else {}, index=symbols)
    obs = pd.DataFrame({"group": np.arange(len(raw)) % 3}, index=raw.index).astype(str)
    matrix = sparse.csr_matrix(raw.to_numpy())
    data = ad.AnnData(matrix, obs, var, layers={"raw": matrix * 2})
    path = folder / f"{name}.h5ad"
    run_qc(
        data, path, sample=name, organism="human", state=State("counts"),
        filters=Filters(1, MIN_CELLS, 100), chunk_size=7,
    )  # fmt: skip
    if pseudobulk:
        run_pseudobulk(path, path, ["group"])
    made = ad.read_h5ad(path)
    with open_anndata(path) as opened:
        summary = write_shards(opened, [(0, made.n_obs)], name, folder)
    write_json(folder / f"{name}.sentences.json", summary)
    own = pd.DataFrame({"c2s_n_genes": 1}, index=made.obs_names)
    vectors = {"X_c2s": np.zeros((made.n_obs, 2), np.float32)}
    shard = folder / f"{name}.00000.embedding.h5ad"
    ad.AnnData(obs=own, obsm=vectors).write_h5ad(shard)
    return Sample(name, name, path, [shard])


@pytest.mark.parametrize("by_id", [False, True], ids=["by symbol", "by id"])
def test_no_0_where_the_raw_data_have_a_value(by_id, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(copying, "BLOCK", 11)
    raw = {name: raw_counts(seed) for seed, name in enumerate(["a", "b"])}
    samples = [run_steps(tmp_path, name, raw[name], by_id) for name in raw]
    with caplog.at_level(logging.INFO):
        merged = merge_samples(samples, tmp_path / "c2s.h5ad", {})
    adata = ad.read_h5ad(tmp_path / "c2s.h5ad")
    merge_samples(samples, tmp_path / "c2s.zarr", {})  # which counts them before it writes
    stored = ad.read_zarr(tmp_path / "c2s.zarr")
    for one, other in ((stored.X, adata.X), (stored.layers["raw"], adata.layers["raw"])):
        np.testing.assert_array_equal(one.toarray(), other.toarray())
    genes = adata.var["gene_ids"] if by_id else [f"ENSG{name[1:]:>011}" for name in adata.var_names]
    kept = {name: (own > 0).sum() >= MIN_CELLS for name, own in raw.items()}
    n_back = 0
    for name, own in raw.items():
        cells = adata[own.index]
        expected = own[genes]
        np.testing.assert_array_equal(cells.layers["counts"].toarray(), expected)
        np.testing.assert_array_equal(cells.layers["raw"].toarray(), 2 * expected)
        totals = own.loc[:, kept[name]].sum(axis=1)  # as before: of the sample's kept genes
        logged = np.log10(1 + 1e4 * expected.div(totals, axis=0))
        np.testing.assert_allclose(cells.X.toarray(), logged, rtol=1e-5)
        n_own = int((expected.loc[:, ~kept[name][genes].to_numpy()] > 0).sum().sum())
        assert f"{name}: {n_own} values of genes below --min_cells there" in caplog.text
        n_back += n_own
        # Its sentences are of the genes that passed.
        assert len(json.loads((tmp_path / f"{name}.sentences.json").read_text())["genes"]) == int(
            kept[name].sum()
        )
    assert n_back > 50
    assert set(genes) == {gene for own in kept.values() for gene in own.index[own]}
    assert merged.genes.names.is_unique
    # EVALUATE compares with the same values.
    write_json(tmp_path / "samples.json", [{"id": name, "organism": "human"} for name in raw])
    run = RunCells(RunFiles(tmp_path / "samples.json", tmp_path, tmp_path, tmp_path, tmp_path))
    rows = np.array([50, 3, 3, 31])
    found = pd.DataFrame(run.expression(rows).toarray(), columns=run.genes)
    np.testing.assert_array_equal(found[adata.var_names], adata.X.toarray()[rows])


def test_pseudobulk_sums_filtered_genes_too(tmp_path):
    raw = {name: raw_counts(seed) for seed, name in enumerate(["a", "b"])}
    samples = [run_steps(tmp_path, name, raw[name], False, pseudobulk=True) for name in raw]
    merge_samples(samples, tmp_path / "c2s.h5ad", {})
    adata = ad.read_h5ad(tmp_path / "c2s.h5ad")
    genes = [f"ENSG{name[1:]:>011}" for name in adata.var_names]
    for name, own in raw.items():
        sums = own.groupby((np.arange(N_CELLS) % 3).astype(str)).sum()[genes]
        cells = adata[adata.obs["sample"] == name]
        expected = sums.loc[cells.obs["group"].astype(str)]
        np.testing.assert_array_equal(cells.layers["counts"].toarray(), expected)
        assert ((cells.X.toarray() > 0) == (expected > 0)).all(axis=None)


def test_nothing_is_kept_beside_where_nothing_is_filtered(tmp_path):
    matrix = sparse.csr_matrix(np.ones((5, 3), np.float32))
    path = tmp_path / "a.h5ad"
    run_qc(
        ad.AnnData(matrix), path, sample="a", organism="human", state=State("counts"),
        filters=Filters(1, 1, 100),
    )  # fmt: skip
    assert PLACE.removeprefix("uns/") not in ad.read_h5ad(path).uns


ids = st.sampled_from([f"ENSG{n:011}" for n in range(5)] + [""])
references = st.lists(st.tuples(st.sampled_from("ABC"), ids, st.booleans()), min_size=1, max_size=6)


@given(samples=st.lists(references, min_size=1, max_size=4))
def test_a_filtered_gene_is_never_put_to_another(samples):
    tables = []
    for found in samples:
        symbols = make_index_unique(pd.Index([symbol for symbol, _, _ in found], dtype=object))
        own = pd.Series([gene for _, gene, _ in found])
        own = own.mask(own.duplicated(keep=False), "").to_numpy()
        again, kept = repeated_symbols(symbols), np.array([keep for _, _, keep in found])
        tables.append([
            GeneTable(list(symbols[part]), list(own[part]), list(symbols[part & again]))
            for part in (kept, ~kept)
        ])  # fmt: skip
    genes, beside = GeneAlignment(), FilteredColumns()
    for kept, filtered in tables:
        genes.add(kept)
        beside.add(kept, filtered)
    for kept, filtered in tables:
        columns = beside.columns(kept, filtered, genes)
        placed = columns[columns >= 0]
        assert len(set(placed) | set(genes.columns(kept))) == len(placed) + len(kept.symbols)
        for (symbol, own), column in zip(filtered.pairs(), columns, strict=True):
            if column < 0:
                continue
            there = [pair for pair, at in genes._pairs.items() if at == column]
            # By id, or by a symbol that no reference repeats, or by both.
            same_id = own and own in [known for _, known in there]
            assert same_id or symbol in [known for known, _ in there]
            if own and not same_id and any(known for _, known in there):
                repeated = {name for pair in tables for part in pair for name in part.repeated}
                assert symbol not in repeated
