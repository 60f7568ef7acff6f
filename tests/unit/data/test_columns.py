"""Every dtype and name that a DataFrame of obs can have, from the reader to the merged file."""

import datetime
from decimal import Decimal

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from anndata.io import read_elem, write_elem
from making import cells
from steps_in_process import data_side

from c2sflow.common.errors import UserError
from c2sflow.data.columns import clean_columns, clean_names, clean_text
from c2sflow.data.h5ad import write_element
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.model.embedding_files import write_embedding
from c2sflow.results.merge import Sample, merge_samples
from c2sflow.sentences.shards import obs_frame, obs_table

NAMES = ["c0", "c1", "c2", "c3"]
TEXTS = ["b", None, "a", "b"]
INTERVALS = pd.cut(pd.Series([1, 2, 3, 4]), [0, 2, 4])
# Column as read → values as kept (None: missing), and what kind of column they are.
COLUMNS = {
    "text": (["a", "b", "a", "é"], ["a", "b", "a", "é"], "text"),
    "objects with a gap": (pd.Series(TEXTS, dtype=object), TEXTS, "category"),
    "default with a gap": (pd.Series(TEXTS), TEXTS, "category"),
    "string": (pd.array(TEXTS, "string"), TEXTS, "category"),
    "pyarrow's string": (pd.array(TEXTS, pd.ArrowDtype(pa.string())), TEXTS, "category"),
    "pyarrow's int": (pd.array([1, None, 3, 4], pd.ArrowDtype(pa.int32())), [1, None, 3, 4], "int"),
    "bytes": ([b"a", b"b", b"\xff", b"d"], ["a", "b", "�", "d"], "text"),
    "NUL": (["a\0", "b", "c", "d"], ["a", "b", "c", "d"], "text"),
    "surrogate": (pd.Series(["a\ud800", *"bcd"], dtype=object), ["a?", "b", "c", "d"], "text"),
    "categories": (pd.Categorical(TEXTS, ["b", "z", "a"], ordered=True), TEXTS, "category"),
    "integers": (pd.Categorical([3, None, 1, 3]), [3, None, 1, 3], "category"),
    "booleans": (pd.Categorical([True, None, False, True]), [True, None, False, True], "bool"),
    "intervals": (INTERVALS, ["(0, 2]"] * 2 + ["(2, 4]"] * 2, "category"),
    "mixed categories": (pd.Categorical([1, "1", None, "a"]), ["1", "1", None, "a"], "category"),
    "no category": (pd.Categorical([None] * 4), [None] * 4, "category"),
    "only None": (pd.Series([None] * 4, dtype=object), [None] * 4, "float"),
    "Int64": (pd.array([2**60 + 1, None, 3, 4], "Int64"), [2**60 + 1, None, 3, 4], "int"),
    "Int8 without gaps": (pd.array([1, 2, 3, 4], "Int8"), [1, 2, 3, 4], "int"),
    "Float64": (pd.array([0.5, None, 3, 4], "Float64"), [0.5, None, 3, 4], "float"),
    "boolean": (pd.array([True, None, False, True], "boolean"), [True, None, False, True], "bool"),
    "half": (np.array([1, 2, np.nan, 4], "f2"), [1, 2, None, 4], "float"),
    "long": (np.array([1, 2, np.nan, 4], "g"), [1, 2, None, 4], "float"),
    "big-endian": (np.array([1, 2, 3, 4], ">i4"), [1, 2, 3, 4], "int"),
    "sparse": (pd.arrays.SparseArray([0, 0, 1, 0]), [0, 0, 1, 0], "int"),
    "object ints": (pd.Series([1, None, 3, 2**63], dtype=object), [1, None, 3, 2**63], "int"),
    "object bools": (pd.Series([True, None, False, True], dtype=object), [True, None, False, True],
                     "bool"),
    "decimals": ([Decimal("0.5"), None, Decimal(3), Decimal(4)], [0.5, None, 3, 4], "float"),
    "huge": (pd.Series([2**70, None, 1, 2], dtype=object), [str(2**70), None, "1", "2"],
             "category"),
    "mixed": (pd.Series([1, "a", None, 2.5], dtype=object), ["1", "a", None, "2.5"], "category"),
    "dates": (pd.to_datetime(["2020-01-02", None] * 2), ["2020-01-02 00:00:00", None] * 2,
              "category"),
    "days": ([datetime.date(2020, 1, 2)] * 4, ["2020-01-02"] * 4, "text"),
    "spans": (pd.to_timedelta([1, 2, 3, 4], "D"), [f"{n} days 00:00:00" for n in (1, 2, 3, 4)],
              "text"),
    "complex": (np.arange(4) * 1j, ["0j", "1j", "2j", "3j"], "text"),
}  # fmt: skip
KIND = {
    "text": lambda column: pd.api.types.is_string_dtype(column),
    "category": lambda column: isinstance(column.dtype, pd.CategoricalDtype),
    "int": lambda column: pd.api.types.is_integer_dtype(column),
    "bool": lambda column: pd.api.types.is_bool_dtype(column),
    "float": lambda column: pd.api.types.is_float_dtype(column),
}


def values_of(column: pd.Series) -> list:
    return [None if pd.isna(value) else value for value in column.astype(object)]


@pytest.mark.parametrize("name", COLUMNS)
def test_what_becomes_of_a_column(name, tmp_path):
    given, expected, kind = COLUMNS[name]
    frame = pd.DataFrame({"x": given}).set_axis(NAMES)
    made, _ = clean_columns(frame, "obs")
    assert values_of(made["x"]) == expected
    assert KIND[kind](made["x"])
    again, notes = clean_columns(made, "obs")
    assert notes == []
    pd.testing.assert_frame_equal(again, made)
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        write_element(file, "a/obs", made)
        read = read_elem(file["a/obs"])
        encodings = {item.attrs["encoding-type"] for item in file["a/obs"].values()}
    assert "nullable-string-array" not in encodings  # which anndata before 0.11 cannot read
    pd.testing.assert_frame_equal(read, made, check_index_type=False)
    pq.write_table(obs_table(made), tmp_path / "x.parquet")
    assert values_of(obs_frame(pq.read_table(tmp_path / "x.parquet"))["x"]) == expected


def test_order_and_unused_categories_are_kept():
    frame = pd.DataFrame({"x": COLUMNS["categories"][0], "i": INTERVALS}).set_axis(NAMES)
    made, _ = clean_columns(frame, "obs")
    assert made["x"].cat.ordered
    assert made["x"].cat.categories.tolist() == ["b", "z", "a"]
    assert made["i"].cat.ordered


def test_lists_are_left_out_and_named():
    frame = pd.DataFrame({"x": [[1], [2], None, [3]], "y": [1, 2, 3, 4]}).set_axis(NAMES)
    made, notes = clean_columns(frame, "obs")
    assert made.columns.tolist() == ["y"]
    assert notes == ["obs: columns that no file can hold are left out: 'x' (list)"]


def test_names():
    given = ["a/b", "a_b", "", ".", "_index", 7, "a\0", "é 細胞", "a_b", "c2s_x"]
    assert clean_names(given) == [
        "a_b_1", "a_b", "unnamed", "unnamed_1", "input_index", "7", "a", "é 細胞", "a_b_2", "c2s_x",
    ]  # fmt: skip
    frame = pd.DataFrame([range(10)] * 4, columns=given, index=NAMES)
    made, notes = clean_columns(frame, "obs")
    assert made.columns.tolist() == clean_names(given)
    assert "'a/b' → 'a_b_1'" in notes[0]
    assert clean_text(b"a\xff") == "a�"


def test_an_index_column_that_repeats_the_names_is_dropped():
    frame = pd.DataFrame({"_index": NAMES, "x": 1}, index=NAMES)
    assert clean_columns(frame, "obs")[0].columns.tolist() == ["x"]
    assert clean_columns(frame.assign(_index="z"), "obs")[0].columns.tolist() == [
        "input_index", "x",
    ]  # fmt: skip


def test_every_column_reaches_the_merged_file(tmp_path):
    """QC, SENTENCES and MERGE of two samples, one of which has the columns."""
    data, other = cells(), cells(seed=1)
    for name, (given, _, _) in COLUMNS.items():
        data.obs[f"obs {name}"] = pd.concat([pd.Series(given)] * 10).set_axis(data.obs_names)
    data.var["ids"] = pd.array(["x", None] * 17, "string")
    merged = []
    for name, sample in (("a", data), ("b", other)):
        run_qc(
            sample, tmp_path / f"{name}.h5ad", sample=name, organism="human",
            state=State("counts"), filters=Filters(1, 1, 100),
        )  # fmt: skip
        made = pd.DataFrame({"c2s_n_genes": 1}, index=sample.obs_names)
        vectors = tmp_path / f"{name}.00000.embedding.h5ad"
        write_embedding(vectors, made, np.ones((40, 2), np.float32), {"software": {"x": "1"}})
        merged.append(Sample(name, name, tmp_path / f"{name}.h5ad", [vectors]))
    merge_samples(merged, tmp_path / "c2s.h5ad", {})
    obs = ad.read_h5ad(tmp_path / "c2s.h5ad").obs
    for name, (_, expected, _) in COLUMNS.items():
        found = values_of(obs[f"obs {name}"])
        assert found[:4] == expected, name
        assert found[40:] == [None] * 40


def nested(group: h5py.Group) -> None:
    """Layers and obsm as anndata before 0.13 wrote names with "/"."""
    write_elem(group["layers"].require_group("a"), "b", group["X"][:])
    write_elem(group["obsm"].require_group("a"), "b", np.ones((40, 2)))
    write_elem(group["obsm"], "words", np.full((40, 2), "w", dtype=object))
    write_elem(group["obsm"], "none", np.ones((40, 0)))
    write_elem(group["obsm"], "table", pd.DataFrame({"t": ["x"] * 40}, index=data_names()))
    write_elem(group["layers"], "words", np.full((40, 34), "w", dtype=object))


def data_names() -> pd.Index:
    return pd.Index(cells().obs_names, dtype=object)


def test_layers_and_obsm_of_every_kind(tmp_path):
    data = cells()
    data.X = data.X.toarray()
    data.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        nested(file)
    with open_anndata(tmp_path / "x.h5ad") as opened:
        assert set(opened.obsm()) == {"X_pca", "a_b", "words", "table"}
        assert set(opened.layers) == {"spliced", "a_b"}
        assert opened.notes == [
            "layers: names that no file can hold are changed: 'a/b' → 'a_b'",
            "layers: 'words' holds no numbers: left out",
            "obsm: names that no file can hold are changed: 'a/b' → 'a_b'",
            "obsm: 'none' is left out: it has no columns",
        ]
    data_side(tmp_path / "x.h5ad", tmp_path)
    made = ad.read_h5ad(tmp_path / "s.h5ad")
    np.testing.assert_array_equal(made.layers["a_b"].toarray(), data.X)
    assert made.obsm["table"]["t"].tolist() == ["x"] * 40


def test_a_layer_of_another_shape_is_refused(tmp_path):
    cells().write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        write_elem(file["layers"], "odd", np.ones((40, 3)))
    with pytest.raises(UserError, match=r"layers\['odd'\] is 40 × 3"):
        open_anndata(tmp_path / "x.h5ad")


def test_a_table_of_obsm_follows_names_made_unique(tmp_path):
    data = cells()
    data.obs_names = ["same"] * 40
    data.obsm["table"] = pd.DataFrame({"t": range(40)}, index=data.obs_names)
    data.write_h5ad(tmp_path / "x.h5ad")
    data_side(tmp_path / "x.h5ad", tmp_path)
    made = ad.read_h5ad(tmp_path / "s.h5ad")
    assert made.obsm["table"]["t"].tolist() == list(range(40))
    assert made.obs_names[1] == "same-1"


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4", "f2", "g"])
def test_values_of_any_bytes(dtype, tmp_path):
    data = cells()
    (tmp_path / "plain").mkdir()
    data.write_h5ad(tmp_path / "plain.h5ad")
    made = ad.AnnData(data.X.toarray().astype(dtype), data.obs, data.var)
    made.write_h5ad(tmp_path / "x.h5ad")
    expected = data_side(tmp_path / "plain.h5ad", tmp_path / "plain")
    assert data_side(tmp_path / "x.h5ad", tmp_path) == expected


def test_more_columns_than_a_file_can_name(tmp_path):
    frame = pd.DataFrame(np.zeros((2, 4100)), columns=[f"score {n}" for n in range(4100)])
    kept, notices = clean_columns(frame, "obs")
    assert list(kept) == list(frame)[:4000]
    assert notices == [
        "obs: 100 columns after the first 4000 are left out: an h5ad file cannot name more"
    ]
    with h5py.File(tmp_path / "many.h5ad", "w") as file:
        write_element(file, "obs", kept)
        assert read_elem(file["obs"]).shape == (2, 4000)
