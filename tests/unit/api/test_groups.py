"""Groups of cells in a notebook are those of the workflow."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from c2sflow import Cell2Sen, Cell2SenConfig
from c2sflow.common.errors import UserError
from c2sflow.data.readers import open_anndata
from c2sflow.generation.annotate_shards import annotate_shards
from c2sflow.inputs.label_files import labels_of
from c2sflow.model.embed_shards import embed_shards
from c2sflow.sentences.groups.drawing import Grouping
from c2sflow.sentences.groups.shards import write_groups
from c2sflow.sentences.shards import write_shards

TISSUE = {"name": "tissue", "level": "group", "candidates": ["blood", "skin"]}


@pytest.fixture(scope="module")
def adata(pbmc):
    cells = pbmc[:20].copy()
    cells.obs = cells.obs.assign(donor=[f"d{n % 2}" for n in range(20)])
    return cells


def object_of(demo_model, **settings):
    given = {"max_genes": 30, "cells_per_prompt": 4, "group_by": "donor", "seed": 3, **settings}
    return Cell2Sen(Cell2SenConfig(model_path=demo_model, device="cpu", verbose=False, **given))


def test_equal_to_the_workflow(adata, demo_model, tmp_path):
    cell2sen = object_of(demo_model)
    groups = cell2sen.group_cells(cell2sen.process_data(adata))
    vectors = cell2sen.get_embeddings(groups)
    labels = cell2sen.get_annotations(groups, labels=[TISSUE])

    logged = ad.AnnData(adata.X / np.log(10), adata.obs.assign(sample="adata", c2s_organism="human"), adata.var)  # fmt: skip  # noqa: E501
    with open_anndata(logged) as data:
        write_shards(data, [(0, 9), (9, 20)], "adata", tmp_path, max_genes=30, seed=3)
    write_groups(
        [tmp_path / "adata.obs.parquet"], sorted((tmp_path / "shards").glob("*.parquet")),
        "adata", tmp_path / "groups", Grouping(4, "donor", seed=3),
    )  # fmt: skip
    (shard,) = (tmp_path / "groups" / "shards").glob("*.parquet")
    table = pd.read_parquet(shard)
    assert groups.index.tolist() == table["cell_id"].tolist()
    for name in ("cell_sentence", "n_genes", "num_cells", "donor"):
        assert groups[name].tolist() == table[name].tolist(), name
    members = pd.read_parquet(tmp_path / "groups" / "adata.members.parquet")
    expected = members.groupby("group")["cell_id"].apply(list)
    assert groups["members"].tolist() == expected[groups.index].tolist()

    options = {"model": demo_model, "device": "cpu"}
    embed_shards([shard], tmp_path, options)
    found = ad.read_h5ad(tmp_path / f"{shard.stem}.embedding.h5ad").obsm["X_c2s"]
    np.testing.assert_allclose(vectors, found, atol=1e-4)
    annotate_shards([shard], tmp_path, options, labels=labels_of([TISSUE]))
    asked = pd.read_parquet(tmp_path / f"{shard.stem}.annotation.parquet")
    assert labels["c2s_tissue"].tolist() == asked["c2s_tissue"].tolist()
    np.testing.assert_allclose(
        labels["c2s_tissue_probability"], asked["c2s_tissue_probability"], atol=1e-4
    )


def test_neighbours_and_texts(adata, demo_model):
    cell2sen = object_of(demo_model, group_by="neighbours", interpretation_tokens=5)
    dataset = cell2sen.process_data(adata)
    groups = cell2sen.group_cells(dataset, points=adata.obsm["X_pca"])
    assert groups["num_cells"].tolist() == [4] * 5
    assert sorted(groups["members"].explode()) == sorted(adata.obs_names)
    texts = cell2sen.interpret_groups(groups)
    assert texts.index.equals(groups.index)
    assert set(texts["c2s_interpretation_status"]) <= {"ok", "length", "empty"}


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"cells_per_prompt": None}, {}, "set cells_per_prompt"),
        ({"group_by": "dnor"}, {}, r"no such column .*'donor'"),
        ({"group_by": "neighbours"}, {}, "needs points"),
        ({}, {"points": np.zeros((20, 2))}, "points are for group_by 'neighbours'"),
        ({"group_by": "neighbours"}, {"points": np.zeros((3, 2))}, "3 rows for 20 cells"),
    ],
)
def test_faults(adata, demo_model, settings, options, message):
    cell2sen = object_of(demo_model, **settings)
    with pytest.raises(UserError, match=message):
        cell2sen.group_cells(cell2sen.process_data(adata), **options)


def test_settings(demo_model):
    with pytest.raises(UserError, match="cells_per_prompt 1: must be 2 or more"):
        object_of(demo_model, cells_per_prompt=1)
    with pytest.raises(UserError, match=r"lacks \{multi_cell_sentences\}"):
        object_of(demo_model, group_prompt="{organism}?")
