"""c2s_groups.h5ad: a row a group, with the mean of its cells and what they share."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.results import group_means
from c2sflow.results.groups import GroupFiles, group_record, merge_groups
from c2sflow.results.merge import merge_samples
from c2sflow.results.shards import Sample
from c2sflow.sentences.groups.drawing import Grouping
from c2sflow.sentences.groups.shards import write_groups

HIDDEN = 3


def sample_of(folder, name, n_obs, seed):
    """A sample as QC, SENTENCES and EMBED leave it; both samples have cells of the same names."""
    random = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical([name] * n_obs),
            "c2s_organism": pd.Categorical(["human"] * n_obs),
            "donor": pd.Categorical(random.choice(["d1", "d2"], n_obs)),
            "n": np.arange(n_obs),
        },
        index=[f"cell{n}" for n in range(n_obs)],
    )
    obs.loc["cell1", "donor"] = np.nan
    matrix = sparse.random(n_obs, 12, 0.4, "csr", np.float32, rng=random)
    var = pd.DataFrame(index=[f"G{n}" for n in range(12)])
    ad.AnnData(matrix, obs, var).write_h5ad(folder / f"{name}.h5ad")
    table = obs.assign(cell_id=obs.index, cell_sentence="G1 G2", n_genes=2).reset_index(drop=True)
    table.to_parquet(folder / "cells" / f"{name}.00000.parquet")
    stored = table.drop(columns=["cell_sentence", "n_genes"])
    stored.assign(shard=f"{name}.00000", n_sentence_genes=2).to_parquet(
        folder / "obs" / f"{name}.obs.parquet"
    )
    shard = pd.DataFrame({"c2s_n_genes": np.int32(2), "c2s_truncated": False}, index=obs.index)
    embeddings = folder / f"{name}.00000.embedding.h5ad"
    ad.AnnData(obs=shard, obsm={"X_c2s": np.ones((n_obs, HIDDEN))}).write_h5ad(embeddings)
    return Sample(name, name, folder / f"{name}.h5ad", [embeddings])


@pytest.fixture
def folder(tmp_path):
    for name in ("obs", "cells", "groups"):
        (tmp_path / name).mkdir()
    return tmp_path


def group_files(folder, across, by="donor"):
    """The groups of both samples, with an embedding that is the number of the group."""
    parts = {"all": "*"} if across else {"a": "a", "b": "b"}
    for name, own in parts.items():
        summary = write_groups(
            sorted((folder / "obs").glob(f"{own}.obs.parquet")),
            sorted((folder / "cells").glob(f"{own}.0*.parquet")),
            name, folder / "groups", Grouping(4, by, across), shard_size=20,
        )  # fmt: skip
        (folder / "groups" / f"{name}.groups.json").write_text(json.dumps(summary))
        for number, shard in enumerate(summary["shards"]):
            path = folder / "groups" / "shards" / f"{shard['name']}.parquet"
            names = pd.read_parquet(path)["cell_id"]
            obs = pd.DataFrame(
                {"c2s_n_genes": np.int32(2), "c2s_truncated": number == 0}, index=names.to_list()
            )
            vectors = np.stack([names.str[-5:].astype(float)] * HIDDEN, axis=1)
            target = folder / "groups" / f"{shard['name']}.embedding.h5ad"
            ad.AnnData(obs=obs, obsm={"X_c2s": vectors}).write_h5ad(target)
            record = {"seconds": 1.5, "warnings": ["2 cells were cut"]}
            (folder / "groups" / f"{shard['name']}.embed.json").write_text(json.dumps(record))
    return GroupFiles.read(folder / "groups", ["a", "b"])


def merged(folder, across):
    samples = [sample_of(folder, name, n, seed) for name, n, seed in (("a", 31, 0), ("b", 22, 1))]
    files = group_files(folder, across)
    for sample in samples:
        sample.groups = files.of_sample(sample.name)
    merge_samples(samples, folder / "c2s.h5ad", {"version": "x"})
    obs = merge_groups(files, folder / "c2s.h5ad", folder / "c2s_groups.h5ad", {"version": "x"})
    return files, obs, ad.read_h5ad(folder / "c2s.h5ad"), ad.read_h5ad(folder / "c2s_groups.h5ad")


@pytest.mark.parametrize("across", [False, True])
def test_a_group_is_the_mean_of_its_cells(folder, monkeypatch, across):
    monkeypatch.setattr(group_means, "SUMS", 36)  # three groups at once
    monkeypatch.setattr(group_means, "BLOCK", 5)
    files, _, cells, groups = merged(folder, across)
    assert cells.obs["c2s_group"].isna().sum() == 2
    assert list(groups.obs_names) == list(files.names)
    assert set(cells.obs["c2s_group"].dropna()) == set(groups.obs_names)
    by_pandas = cells.to_df().groupby(cells.obs["c2s_group"].astype(object)).mean()
    np.testing.assert_allclose(groups.to_df().loc[by_pandas.index], by_pandas, rtol=1e-5, atol=1e-7)
    sizes = cells.obs["c2s_group"].value_counts()
    assert groups.obs["n_cells"].tolist() == sizes[groups.obs_names].tolist()
    numbers = groups.obs_names.str[-5:].astype(float)
    assert (groups.obsm["X_c2s"] == np.stack([numbers] * HIDDEN, axis=1)).all()
    assert groups.uns["log1p"]["base"] == cells.uns["log1p"]["base"]


@pytest.mark.parametrize("across", [False, True])
def test_members_and_shared_values(folder, across):
    *_, cells, groups = merged(folder, across)
    members = groups.uns["c2s_members"]
    assert members["c2s_group"].notna().all()
    assert members.index.is_unique
    assert (cells.obs.loc[members.index, "c2s_group"].to_numpy() == members["c2s_group"]).all()
    for name, rows in members.groupby("c2s_group", observed=True):
        own = cells.obs.loc[rows.index]
        assert rows["c2s_group_place"].tolist() == list(range(1, len(rows) + 1))
        found = groups.obs.loc[name]
        assert found["donor"] == own["donor"].iloc[0]
        assert own["donor"].nunique() == 1
        assert pd.isna(found["sample"]) == (own["sample"].nunique() > 1)
        assert across or found["sample"] == own["sample"].iloc[0]
    assert "n" not in groups.obs or groups.obs["n"].notna().any()
    assert list(groups.obs.columns[:2]) == ["sample", "n_cells"]


def test_the_report_gets_counts_and_each_warning_once(folder):
    files, obs, _, groups = merged(folder, False)
    record = group_record(files, obs)
    assert record["n_cells"] == 53
    assert record["n_grouped"] == 51
    assert record["n_groups"] == groups.n_obs
    assert record["warnings"].count("2 cells were cut") == 1
    assert sum(row["n_groups"] for row in record["groups"]) == groups.n_obs
    assert sum(row["n_cells"] for row in record["groups"]) == 51
    assert {(row["sample"], row["donor"]) for row in record["groups"]} == {
        (sample, donor) for sample in "ab" for donor in ("d1", "d2")
    }
    json.dumps(record)


def test_foreign_members_and_missing_shards_are_refused(folder):
    samples = [sample_of(folder, name, n, seed) for name, n, seed in (("a", 31, 0), ("b", 22, 1))]
    files = group_files(folder, False)
    samples[0].groups = files.of_sample("a").rename(index={"cell3": "other"})
    with pytest.raises(UserError, match="groups hold 'other'"):
        merge_samples(samples, folder / "c2s.h5ad", {})
    for sample in samples:
        sample.groups = files.of_sample(sample.name)
    merge_samples(samples, folder / "c2s.h5ad", {})
    files.embeddings.pop()
    with pytest.raises(UserError, match="have no embedding"):
        merge_groups(files, folder / "c2s.h5ad", folder / "c2s_groups.h5ad", {})
    assert not (folder / "c2s_groups.h5ad").exists()
