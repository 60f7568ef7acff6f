"""Shards: together they hold every cell once; their size changes nothing but the files."""

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import cells as made_cells

from c2sflow.data.genes.organisms import find_organism
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, fill
from c2sflow.sentences.shards import shard_bounds, write_shards


@pytest.fixture(scope="module")
def cells(pbmc):
    chosen = pbmc[:60].copy()
    chosen.obs = chosen.obs.assign(
        sample="s 1", organism="human", tissue=pd.Categorical(["blood"] * 59 + [None]), flag=True
    )
    return chosen


def shards_of(adata, folder, size, **options):
    with open_anndata(adata) as data:
        bounds = shard_bounds(np.diff(data.rows(0, data.n_obs).indptr), size)
        summary = write_shards(data, bounds, "s", folder, **options)
    tables = [
        pd.read_parquet(folder / "shards" / f"{shard['name']}.parquet")
        for shard in summary["shards"]
    ]
    return summary, tables


@settings(max_examples=10)
@given(size=st.integers(1, 80), piece=st.integers(1, 80), cores=st.integers(1, 3))
def test_size_changes_nothing(cells, tmp_path_factory, size, piece, cores):
    folder = tmp_path_factory.mktemp("shards")
    whole, (one,) = shards_of(cells, folder / "one", 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("c2sflow.sentences.shards.PIECE", piece)
        patch.setenv("OMP_NUM_THREADS", str(cores))
        cut, tables = shards_of(cells, folder / "cut", size)
    assert [len(table) for table in tables[:-1]] == [size] * (len(tables) - 1)
    pd.testing.assert_frame_equal(
        pd.concat(tables, ignore_index=True), one, check_categorical=False
    )
    assert cut["rank_fit"] == pytest.approx(whole["rank_fit"])
    assert cut["sentence_lengths"] == whole["sentence_lengths"]
    assert sum(shard["n_genes"] for shard in cut["shards"]) == one["n_genes"].sum()


def test_columns(cells, tmp_path):
    summary, (first, _) = shards_of(cells, tmp_path, 30, max_genes=50)
    assert first["cell_id"].tolist() == list(cells.obs_names[:30])
    assert first["n_genes"].max() == 50
    assert set(first["sample"]) == {"s 1"}
    assert {"tissue", "flag", "bulk_labels", "percent_mito"} < set(first)
    assert (first["cell_sentence"].str.split().str.len() == first["n_genes"]).all()
    assert summary["genes"] == [name.upper() for name in cells.var_names]
    obs = pd.read_parquet(tmp_path / "s.obs.parquet")
    assert obs["cell_id"].tolist() == list(cells.obs_names)
    assert obs["shard"].tolist() == ["s.00000"] * 30 + ["s.00001"] * 30
    assert "cell_sentence" not in obs
    assert obs["n_sentence_genes"].tolist()[:30] == first["n_genes"].tolist()
    assert summary["symbols"] == list(cells.var_names)
    assert summary["examples"][:8] == first["cell_sentence"].tolist()[:8]
    assert len(summary["examples"]) == 16


def test_an_input_column_of_our_name_gives_way(cells, tmp_path):
    other = cells.copy()
    other.obs["cell_sentence"] = "mine"
    other.obs["n_genes"] = -1
    _, (table,) = shards_of(other, tmp_path, 100)
    assert (table["cell_sentence"] != "mine").all()
    assert (table["n_genes"] > 0).all()
    # A query for control cells means the input's own column.
    assert (pd.read_parquet(tmp_path / "s.obs.parquet")["n_genes"] == -1).all()


def test_bytes_are_the_same_in_every_run(cells, tmp_path):
    for name in ("one", "two"):
        shards_of(cells, tmp_path / name, 60)
    files = [tmp_path / name / "shards" / "s.00000.parquet" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert pq.read_schema(files[0]).field("n_genes").type == "int32"


def test_a_cell_without_genes_has_an_empty_sentence(tmp_path):
    obs = pd.DataFrame({"sample": "s", "organism": "human"}, index=["full", "empty"])
    adata = ad.AnnData(pd.DataFrame([[1.0, 2.0], [0.0, 0.0]], index=obs.index), obs=obs)
    _, (table,) = shards_of(adata, tmp_path, 10)
    assert table["cell_sentence"].tolist() == ["1 0", ""]


def test_each_cell_is_called_by_its_own_organism(tmp_path):
    """From ontology terms of a data set of both to what the prompts say."""
    data = made_cells(20)
    terms = ["NCBITaxon:9606", "NCBITaxon:10090"] * 10
    data.obs["organism_ontology_term_id"] = terms
    with open_anndata(data) as given:
        organism = find_organism("auto", given, given.var_names, "x")
    path = tmp_path / "s.h5ad"
    run_qc(
        data, path, sample="s", organism=organism, state=State("counts"), filters=Filters(skip=True)
    )
    with open_anndata(path) as kept:
        write_shards(kept, [(0, 20)], "s", tmp_path)
    records = pd.read_parquet(tmp_path / "shards/s.00000.parquet").to_dict("records")
    said = [fill(EMBEDDING_PROMPT, record) for record in records]
    for term, text in zip(terms, said, strict=True):
        assert ("in a human cell" in text) == (term == "NCBITaxon:9606")
        assert ("in a mouse cell" in text) == (term == "NCBITaxon:10090")
