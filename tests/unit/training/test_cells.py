"""Cells to train on: those of the split, all of them, and never a test cell."""

import pandas as pd
import pytest

from c2sflow.common.errors import UserError
from c2sflow.training.cells import SPLIT, read_splits, read_training_cells


@pytest.fixture(scope="module")
def table(training_shards):
    return pd.concat(map(pd.read_parquet, training_shards), ignore_index=True)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_cells_are_those_of_the_split(training_shards, table, split):
    cells = read_training_cells(training_shards, ["label", "absent"], split)
    own = table[table[SPLIT] == split].reset_index(drop=True)
    assert cells.obs["cell_id"].tolist() == own["cell_id"].tolist()
    assert cells.sentences.to_pylist() == own["cell_sentence"].tolist()
    assert set(cells.obs) == {"cell_id", "sample", "organism", "n_genes", "label"}
    record = cells.record(3, perturbation="IFN")
    assert record["cell_sentence"] == own["cell_sentence"][3]
    assert (record["label"], record["perturbation"]) == (own["label"][3], "IFN")
    assert cells.genes(3, 5) == own["cell_sentence"][3].split()[:5]


def test_test_cells_cannot_be_asked_for(training_shards):
    with pytest.raises(ValueError, match="never"):
        read_training_cells(training_shards, [], "test")


def test_splits_of_all_cells(training_shards, table):
    splits = read_splits(training_shards)
    assert splits["cell_id"].tolist() == table["cell_id"].tolist()
    assert splits["split"].tolist() == table[SPLIT].tolist()


def test_digest_sees_every_change(training_shards, tmp_path):
    whole = read_training_cells(training_shards, ["label"], "train")
    digests = {whole.digest(), read_training_cells(training_shards, [], "train").digest()}
    for column, value in (("cell_sentence", "CD3D"), ("label", "B"), ("cell_id", "other")):
        table = pd.read_parquet(training_shards[0])
        table.loc[0, column] = value
        table.to_parquet(tmp_path / "changed.parquet")
        shards = [tmp_path / "changed.parquet", training_shards[1]]
        digests.add(read_training_cells(shards, ["label"], "train").digest())
    assert len(digests) == 5
    again = read_training_cells(training_shards, ["label"], "train")
    assert again.digest() == whole.digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns=SPLIT), "no column 'c2s_split'"),
        (lambda table: table.assign(**{SPLIT: "tset"}), "holds 'tset'"),
        (lambda table: table.assign(**{SPLIT: None}), "holds None"),
    ],
)
def test_faults_of_the_split_are_told(training_shards, tmp_path, change, message):
    path = tmp_path / "s.parquet"
    change(pd.read_parquet(training_shards[0])).to_parquet(path)
    with pytest.raises(UserError, match=message):
        read_splits([path])


def test_a_broken_shard_and_a_split_without_cells_are_told(training_shards, tmp_path):
    path = tmp_path / "s.00000.parquet"
    path.write_bytes(training_shards[0].read_bytes()[:500])
    with pytest.raises(UserError, match=r"shard s\.00000\.parquet is missing or broken"):
        read_training_cells([path], [], "train")
    pd.read_parquet(training_shards[0]).assign(**{SPLIT: "test"}).to_parquet(path)
    with pytest.raises(UserError, match="no cell with genes is of the split 'train'"):
        read_training_cells([path], [], "train")
