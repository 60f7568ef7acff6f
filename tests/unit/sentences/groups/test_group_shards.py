"""Shards of groups: the members' own sentences, whatever the shards that they come from."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.data.readers import open_anndata
from c2sflow.sentences.groups.drawing import Grouping
from c2sflow.sentences.groups.shards import write_groups
from c2sflow.sentences.groups.shared import shared_values
from c2sflow.sentences.groups.text import join_sentences, sentences_of, with_first_genes
from c2sflow.sentences.shards import shard_bounds, write_shards


@pytest.fixture(scope="module")
def samples(pbmc):
    """Two samples of real cells; a few cells of b have no donor."""
    made = {}
    for name, rows in (("a", slice(0, 33)), ("b", slice(33, 60))):
        cells = pbmc[rows].copy()
        donors = pd.Categorical([f"d{n % 3}" for n in range(cells.n_obs)])
        ages = [20 + n % 3 for n in range(cells.n_obs)]
        cells.obs = cells.obs.assign(sample=name, c2s_organism="human", donor=donors, age=ages)
        cells.obs_names = [f"{name}{n}" for n in range(cells.n_obs)]
        made[name] = cells
    made["b"].obs["donor"] = made["b"].obs["donor"].where(np.arange(27) > 3)
    return made


def sentences_step(samples, folder, size):
    for name, cells in samples.items():
        with open_anndata(ad.AnnData(cells.X, cells.obs, cells.var)) as data:
            bounds = shard_bounds(np.diff(data.rows(0, data.n_obs).indptr), size)
            write_shards(data, bounds, name, folder, max_genes=40)
    return sorted(folder.glob("*.obs.parquet")), sorted((folder / "shards").glob("*.parquet"))


def groups_of(samples, folder, size, grouping, **options):
    obs, shards = sentences_step(samples, folder, size)
    summary = write_groups(obs, shards, "all", folder / "out", grouping, **options)
    files = [folder / "out" / "shards" / f"{s['name']}.parquet" for s in summary["shards"]]
    cells = pd.concat(map(pd.read_parquet, shards)).set_index("cell_id")
    members = pd.read_parquet(folder / "out" / "all.members.parquet")
    return summary, pd.concat(map(pd.read_parquet, files), ignore_index=True), members, cells


@settings(max_examples=4)
@given(size=st.integers(7, 40), group_size=st.integers(8, 40), across=st.booleans())
def test_shards_change_nothing(samples, tmp_path_factory, size, group_size, across):
    folder = tmp_path_factory.mktemp("groups")
    grouping = Grouping(4, "donor", across)
    _, one, own, cells = groups_of(samples, folder / "one", 60, grouping)
    summary, cut, members, _ = groups_of(
        samples, folder / "cut", size, grouping, shard_size=group_size
    )
    pd.testing.assert_frame_equal(one, cut, check_categorical=False)
    pd.testing.assert_frame_equal(own, members)
    assert summary["n_groups"] == len(cut) == sum(s["n_groups"] for s in summary["shards"])
    for group, rows in members.groupby("group"):
        record = cut.set_index("cell_id").loc[group]
        sentences = cells.loc[rows["cell_id"], "cell_sentence"].tolist()
        assert record["cell_sentence"] == join_sentences(sentences)
        assert record["num_cells"] == len(rows)
        assert record["n_genes"] == max(len(text.split()) for text in sentences)
        assert rows["place"].tolist() == list(range(1, len(rows) + 1))


def test_columns_are_what_the_cells_share(samples, tmp_path):
    summary, table, members, _ = groups_of(samples, tmp_path, 20, Grouping(4, "donor", True))
    assert summary["without_value"] == 4
    obs = pd.concat([cells.obs for cells in samples.values()])
    for row in table.itertuples():
        own = obs.loc[members.loc[members["group"] == row.cell_id, "cell_id"]]
        assert row.donor == own["donor"].iloc[0]
        assert row.organism == "human"
        assert row.sample == (own["sample"].iloc[0] if own["sample"].nunique() == 1 else "several")
        assert pd.isna(row.bulk_labels) == (own["bulk_labels"].astype(str).nunique() > 1)
    assert "several" in set(table["sample"])
    assert table["age"].notna().any()


def test_a_sample_without_a_group(samples, tmp_path):
    cells = samples["a"][:6].copy()
    cells.obs["donor"] = pd.Series([np.nan] * 6, cells.obs_names, dtype=object)
    obs, shards = sentences_step({"a": cells}, tmp_path, 20)
    summary = write_groups(obs, shards, "a", tmp_path / "out", Grouping(4, "donor"))
    assert (summary["n_groups"], summary["shards"], summary["without_value"]) == (0, [], 6)
    assert pd.read_parquet(tmp_path / "out" / "a.members.parquet").empty


def test_foreign_and_missing_shards_are_refused(samples, tmp_path):
    obs, shards = sentences_step(samples, tmp_path, 20)
    with pytest.raises(UserError, match="its Parquet file is missing"):
        write_groups(obs, shards[:-1], "all", tmp_path / "out", Grouping(4))
    table = pd.read_parquet(shards[0])
    table[::-1].to_parquet(shards[0])
    with pytest.raises(UserError, match="not the cells of its sample"):
        write_groups(obs, shards, "all", tmp_path / "out", Grouping(4))


def test_shared_values_as_pandas(pbmc):
    random = np.random.default_rng(0)
    obs = pbmc.obs.assign(number=random.integers(0, 2, 700), flag=random.random(700) < 0.9)
    obs["text"] = obs["bulk_labels"].astype(object).where(random.random(700) < 0.9)
    order, starts = random.permutation(700), np.arange(0, 700, 2)
    found = shared_values(obs, order, starts)
    for name in obs:
        groups = obs[name].astype(object).iloc[order].groupby(np.arange(700) // 2)
        for value, (_, own) in zip(found[name], groups, strict=True):
            same = own.notna().all() and own.nunique() == 1
            assert value == own.iloc[0] if same else pd.isna(value)


@given(
    st.lists(st.lists(st.sampled_from(["A", "B.1", "C-2", "HLA-A"]), min_size=1), min_size=2),
    st.integers(0, 6),
)
def test_text_of_several_cells_is_cell2sentences(genes, n_genes):
    sentences = [" ".join(own) for own in genes]
    text = ""
    for idx, sentence in enumerate(sentences):  # C2SMultiCellPromptFormatter.format_hf_ds
        text += f"Cell {idx + 1}:\n"
        text += sentence
        text += ".\n"
    assert join_sentences(sentences) == text
    assert sentences_of(text) == sentences
    cut = [" ".join(own[:n_genes]) for own in genes]
    assert with_first_genes(text, n_genes) == join_sentences(cut)
    assert with_first_genes(sentences[0], n_genes) == cut[0]
