"""Genes of several samples: one column holds one gene, whatever its symbol or place."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata.utils import make_index_unique
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from c2sflow.data.backed import CellData
from c2sflow.data.genes.alignment import (
    GeneAlignment,
    GeneTable,
    ensembl_ids,
    repeated_symbols,
    word_columns,
)
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.state.normalization import State
from c2sflow.generation.plan import organism_columns
from c2sflow.results.merge import merge_samples
from c2sflow.results.shards import Sample
from c2sflow.sentences.shards import write_shards

E1, E2, E3 = (f"ENSG0000000000{n}" for n in (1, 2, 3))


def aligned(*tables):
    made = GeneAlignment()
    for table in tables:
        made.add(table)
    return made, [made.columns(table).tolist() for table in tables]


def test_without_ids_symbols_decide_in_order_of_appearance():
    made, columns = aligned(GeneTable(["B", "A"]), GeneTable(["C", "A"]))
    assert list(made.names) == ["B", "A", "C"]
    assert columns == [[0, 1], [2, 1]]
    assert made.ids == ["", "", ""]
    assert made.notices() == []


def test_two_genes_of_a_symbol_in_another_order_are_aligned_by_id():
    again = ["DUP", "DUP-1"]
    one = GeneTable(["DUP", "DUP-1", "A"], [E1, E2, E3], again)
    two = GeneTable(["A", "DUP", "DUP-1"], [E3, E2, E1], again)
    filtered = GeneTable(["DUP"], [E2])
    made, columns = aligned(one, two, filtered)
    assert list(made.names) == ["DUP", "DUP-1", "A"]
    assert made.ids == [E1, E2, E3]
    assert columns == [[0, 1, 2], [2, 1, 0], [1]]
    assert any("DUP" in line and "by Ensembl id" in line for line in made.notices())


def test_the_other_gene_of_a_symbol_was_filtered_out_in_each_sample():
    """Only QC knew, from the whole reference, that DUP is repeated."""
    made, columns = aligned(GeneTable(["DUP"], [E1], ["DUP"]), GeneTable(["DUP"], [E2], ["DUP"]))
    assert columns == [[0], [1]]
    assert made.names.is_unique


def test_another_release_gives_a_symbol_another_id():
    made, columns = aligned(GeneTable(["A", "B"], [E1, E2]), GeneTable(["A", "B"], [E3, E2]))
    assert columns == [[0, 1], [0, 1]]
    assert made.ids == [E1, E2]
    assert any(f"A: {E1} and {E3}" in line for line in made.notices())


def test_a_renamed_gene_and_a_symbol_that_moved():
    """B is now called A, and A is the symbol of another gene."""
    made, columns = aligned(GeneTable(["A", "B"], [E1, E2]), GeneTable(["A", "C"], [E2, E3]))
    assert columns == [[0, 1], [1, 2]]
    assert list(made.names) == ["A", "B", "C"]
    assert any("different symbols" in line for line in made.notices())


def test_samples_without_ids():
    made, columns = aligned(
        GeneTable(["A", "DUP", "DUP-1"], [E3, E1, E2], ["DUP", "DUP-1"]),
        GeneTable(["DUP-1", "DUP", "A"], repeated=["DUP", "DUP-1"]),
    )
    assert columns == [[0, 1, 2], [3, 4, 0]]
    assert made.names.is_unique
    assert any("without Ensembl ids" in line for line in made.notices())


ids = st.sampled_from([f"ENSG{n:011}" for n in range(6)] + [""])
genes = st.lists(st.tuples(st.sampled_from("ABC"), ids), min_size=1, max_size=6)


@given(samples=st.lists(genes, min_size=1, max_size=5))
def test_a_column_never_mixes_genes(samples):
    tables = []
    for found in samples:
        symbols = make_index_unique(pd.Index([symbol for symbol, _ in found], dtype=object))
        own = pd.Series([gene for _, gene in found])
        own = own.mask(own.duplicated(keep=False), "").tolist()
        repeated = symbols[repeated_symbols(symbols)]
        tables.append(GeneTable(symbols.tolist(), own, repeated.tolist()))
    made, columns = aligned(*tables)
    assert made.names.is_unique
    column_of, ids_of = {}, {}
    for table, own in zip(tables, columns, strict=True):
        assert len(set(own)) == len(own)  # no two genes of a sample in one column
        for symbol, gene, column in zip(table.symbols, table.ids, own, strict=True):
            if gene:
                assert column_of.setdefault(gene, column) == column  # one gene, one column
                ids_of.setdefault(column, {})[gene] = symbol
    tainted = {symbol for table in tables for symbol in table.repeated}
    for found in ids_of.values():
        if len(found) > 1:  # of two releases: of one symbol, that is nowhere repeated
            assert len(set(found.values())) == 1
            assert not tainted & set(found.values())


def test_ids_are_found_where_files_have_them():
    var = pd.DataFrame(
        {"n": [1, 2, 3], "feature_id": [f"{E1}.4", "GFP", f"{E2}.12"]}, index=["A", "GFP", "B"]
    )
    assert ensembl_ids(var) == [E1, "", E2]
    assert ensembl_ids(var.assign(feature_id=pd.Categorical([E1, E1, E2]))) == ["", "", E2]
    assert ensembl_ids(var[["n"]]) == []
    assert ensembl_ids(pd.DataFrame(index=[E1, E2, "A"])) == [E1, E2, ""]


def test_repeated_symbols():
    index = make_index_unique(pd.Index(["DUP", "NKX2-1", "DUP", "A", "DUP"]))
    assert repeated_symbols(index).tolist() == [True, False, True, False, True]


@pytest.fixture(scope="module", params=["names", "column"])
def run(request, tmp_path_factory):
    """Two samples whose references have RPS18 and RPL10 as DUP in another order."""
    folder = tmp_path_factory.mktemp("run")
    orders = {"a": [E1, E2, E3], "b": [E2, E3, E1]}
    symbol = {E1: "DUP", E2: "DUP", E3: "ACTB"}
    counts, samples, summaries = {}, [], {}
    for seed, (name, order) in enumerate(orders.items()):
        values = np.random.default_rng(seed).integers(1, 50, (8, 3)).astype(np.float32)
        cells = [f"{name}{n}" for n in range(8)]
        counts[name] = pd.DataFrame(values, cells, order)
        var = pd.DataFrame({"gene_ids": order}, index=[symbol[gene] for gene in order])
        if request.param == "column":
            var = pd.DataFrame({"symbol": var.index}, index=order)
        adata = ad.AnnData(sparse.csr_matrix(values), pd.DataFrame(index=cells), var)
        path = folder / f"{name}.h5ad"
        run_qc(
            adata, path, sample=name, organism="human", state=State("counts"),
            filters=Filters(skip=True),
            symbols_column="symbol" if request.param == "column" else None,
        )  # fmt: skip
        with_symbols = ad.read_h5ad(path)
        summary = write_shards(_open(with_symbols), [(0, 8)], name, folder)
        summaries[name] = summary
        shard = ad.AnnData(
            obs=pd.DataFrame({"c2s_n_genes": 3}, index=cells),
            obsm={"X_c2s": np.zeros((8, 2), np.float32)},
        )
        shard.write_h5ad(folder / f"{name}.embedding.h5ad")
        samples.append(Sample(name, name, path, [folder / f"{name}.embedding.h5ad"]))
    merged = merge_samples(samples, folder / "c2s.h5ad", {})
    return ad.read_h5ad(folder / "c2s.h5ad"), merged, counts, summaries


def _open(adata):
    return CellData(adata, adata.obs, adata.var, "data")


def test_merged_counts_are_those_of_each_gene(run):
    adata, merged, counts, _ = run
    column = "gene_ids" if "gene_ids" in adata.var else "input_id"
    found = pd.DataFrame(adata.layers["counts"].toarray(), adata.obs_names, adata.var[column])
    expected = pd.concat(counts.values())  # pandas aligns by id
    pd.testing.assert_frame_equal(
        found[expected.columns], expected, check_names=False, check_dtype=False
    )
    assert list(adata.var_names) == ["DUP", "DUP-1", "ACTB"]
    assert merged.notices


def test_words_find_the_genes_of_their_sample(run):
    adata, merged, counts, summaries = run
    for name, summary in summaries.items():
        columns = word_columns(summary, merged.genes)
        found = [adata.var_names[columns[word]] for word in summary["genes"]]
        assert [merged.genes.ids[columns[word]] for word in summary["genes"]] == list(
            counts[name].columns
        )
        assert sorted(found) == ["ACTB", "DUP", "DUP-1"]
    sheet = [{"id": name, "organism": "human"} for name in summaries]
    columns = organism_columns(sheet, summaries, "human", merged.genes)
    assert columns == word_columns(summaries["a"], merged.genes)
