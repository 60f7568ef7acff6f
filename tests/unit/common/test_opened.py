"""A file of an earlier step that is damaged is named, with what to do, whichever its format."""

import errno

import h5py
import pandas as pd
import pytest

from c2sflow.common.errors import UserError
from c2sflow.common.opened import open_h5, reading
from c2sflow.common.parquet import read_parquet


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "s.00000.parquet"
    pd.DataFrame({"cell_id": ["a", "b"], "label": ["T", None]}).to_parquet(path)
    return path


def test_a_table_is_that_of_pandas(table):
    pd.testing.assert_frame_equal(read_parquet(table).to_pandas(), pd.read_parquet(table))
    assert read_parquet(table, ["label"]).column_names == ["label"]


def damaged(path):
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("harm", [damaged, lambda path: path.write_text(""), lambda p: p.unlink()])
def test_a_damaged_table_is_named(table, harm):
    harm(table)
    with pytest.raises(UserError, match=r"^shard s\.00000\.parquet is missing or broken") as told:
        read_parquet(table, of="shard ")
    assert f"delete {table} and run again with -resume" in str(told.value)


def test_a_column_that_a_table_lacks(table):
    with pytest.raises(UserError, match=r"s\.00000\.parquet is missing or broken .*split"):
        read_parquet(table, ["cell_id", "split"])


def test_hdf5_that_lacks_a_group_or_is_none(tmp_path):
    path = tmp_path / "a.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = [1]
    with open_h5(path) as file:
        assert file["X"][0] == 1
    with pytest.raises(UserError, match=r"^a\.h5ad is missing or broken"), open_h5(path) as file:
        file["obs"]
    path.write_text("no HDF5")
    with pytest.raises(UserError, match=r"^sample a: a\.h5ad is missing"):
        open_h5(path, "sample a: ").__enter__()


def test_a_file_is_not_blamed_where_the_system_refuses(table):
    with pytest.raises(UserError, match="too many files are open") as told, reading(table):
        raise OSError(errno.EMFILE, "Too many open files")
    assert "delete" not in str(told.value)
