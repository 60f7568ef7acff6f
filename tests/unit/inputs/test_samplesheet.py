"""Samplesheets in each format, their faults, and file-safe names."""

import json
from pathlib import Path

import pytest

from c2sflow.inputs.samplesheet import (
    Row,
    read_samplesheet,
    sample_ids,
    sheet_paths,
    single_row,
)

ASSETS = Path(__file__).resolve().parents[3] / "assets"
SCHEMA = json.loads((ASSETS / "schema_input.json").read_text())
EXPECTED = [
    Row("a", "a.h5ad", {"organism": "mouse"}, {"donor": "1"}),
    Row("b 2", "x/b.h5ad", {}, {"donor": "2, left"}),
]


def read(name, content, folder):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_samplesheet(path, SCHEMA)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.csv", 'sample,path,organism,donor\na,a.h5ad,mouse,1\nb 2,x/b.h5ad,,"2, left"\n'),
        (
            "s.csv",
            b"\xef\xbb\xbfsample, path,organism,donor\r\n\r\na, a.h5ad ,mouse,1\r\n,,,\r\n"
            b'b 2,x/b.h5ad,,"2, left"\r\n',
        ),
        ("s.tsv", "donor\tsample\tpath\torganism\n1\ta\ta.h5ad\tmouse\n2, left\tb 2\tx/b.h5ad\n"),
        (
            "s.yaml",
            "- {sample: a, path: a.h5ad, organism: mouse, donor: 1}\n"
            "- sample: b 2\n  path: x/b.h5ad\n  donor: 2, left\n",
        ),
        (
            "s.json",
            '[{"sample": "a", "path": "a.h5ad", "organism": "mouse", "donor": 1},'
            '{"sample": "b 2", "path": "x/b.h5ad", "organism": null, "donor": "2, left"}]',
        ),
    ],
)
def test_formats(name, content, tmp_path):
    assert read(name, content, tmp_path) == (EXPECTED, [])


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("s.csv", "sample,path\n", "s.csv: lists no sample; give a row for each: sample,path"),
        ("s.csv", "sample,path\n,a\n", "s.csv, line 2: sample is empty"),
        ("s.csv", "sample,path\na,\n", "s.csv, line 2: path is empty"),
        ("s.csv", "sample,path\na,x,y\n", "s.csv, line 2: more fields than the header has columns"),
        ("s.csv", "sample,path,a,a\na,x,1,1\n", "s.csv: two columns are named a"),
        (
            "s.csv",
            "sample,path\na,x\n\na,y\n",
            "s.csv, line 4: sample a is in line 2 already; give each sample its own name",
        ),
        (
            "s.csv",
            "sample,path,input_state\na,x,raw\n",
            "s.csv, line 2: input_state raw: must be one of auto, counts, normalized, "
            "lognormalized",
        ),
        ("s.yaml", "- sample: a\n", "s.yaml, sample 1: no column 'path'"),
        ("s.yaml", "sample: a\n", "s.yaml: must be a list of samples, each with sample and path"),
        ("s.json", "[{]", "s.json: cannot be read as a samplesheet"),
        ("s.yaml", "- a: [", "s.yaml: cannot be read as a samplesheet"),
        ("s.csv", b"sample,path\n\xff,x\n", "s.csv: cannot be read as a samplesheet"),
    ],
)
def test_faults(name, content, fault, tmp_path):
    _, faults = read(name, content, tmp_path)
    assert len(faults) == 1
    assert faults[0].startswith(fault)


@pytest.mark.parametrize(
    ("name", "content", "value"),
    [
        ("s.csv", '\ufeff"sample";path;x\r\n001;a.h5ad;1,5\r\n;;\r\n', "1,5"),  # Excel's
        ("s.csv", 'sample;path;x\n001;a.h5ad;"1;5"\n', "1;5"),
        ("s.csv", "sample\tpath\tx\n001\ta.h5ad\t1.10\n", "1.10"),
        ("s.tsv", "sample,path,x\n001,a.h5ad,NA\n", "NA"),
        ("s.yaml", "- {sample: 001, path: a.h5ad, x: no}\n", "no"),
        ("s.yaml", "- {sample: 001, path: a.h5ad, x: 1.10}\n", "1.10"),
        ("s.yaml", "- {sample: 001, path: a.h5ad, x: 2020-01-01}\n", "2020-01-01"),
        ("s.json", '[{"sample": "001", "path": "a.h5ad", "x": 1.10}]', "1.10"),
        ("s.json", '[{"sample": "001", "path": "a.h5ad", "x": true}]', "true"),
    ],
)
def test_everything_is_text_whatever_separates_it(name, content, value, tmp_path):
    assert read(name, content, tmp_path) == ([Row("001", "a.h5ad", {}, {"x": value})], [])


def test_null_of_yaml_is_empty(tmp_path):
    rows, faults = read("s.yaml", "- {sample: NA, path: a.h5ad, x: null, y: ~}\n", tmp_path)
    assert (rows, faults) == ([Row("NA", "a.h5ad", {}, {"x": "", "y": ""})], [])


def test_the_example_is_a_samplesheet():
    rows, faults = read_samplesheet(ASSETS / "samplesheet.csv", SCHEMA)
    assert faults == []
    assert rows[0] == Row("lane_1", "lane_1.h5ad", {"organism": "human"}, {"lanes": "1 to 4"})


@pytest.mark.parametrize(
    ("path", "sample"),
    [
        ("data/my cells.h5ad", "my cells"),
        ("bulk.tsv.gz", "bulk"),
        ("run1/filtered_feature_bc_matrix/", "filtered_feature_bc_matrix"),
        ("x.zarr", "x"),
    ],
)
def test_a_data_file_is_named_after_itself(path, sample):
    assert single_row(path) == Row(sample, path)


def test_ids_are_file_safe_and_unique():
    names = ["a b", "a/b", "A_B", "../x", "é", "a_b_2"]
    ids = sample_ids(names)
    assert ids == ["a_b", "a_b_2", "A_B_3", "x", "sample", "a_b_2_2"]
    assert len({name.lower() for name in ids}) == len(names)


LONG = [
    "x" * 255,
    "x" * 254 + "y",
    "X" * 255,
    "é" * 127,
    "細胞" * 40,
    "a b" * 80 + "1",
    "a b" * 80 + "2",
]


def test_ids_of_long_names_leave_room_for_endings():
    ids = sample_ids(LONG)
    assert len({name.lower() for name in ids}) == len(LONG)
    for name in ids:
        assert name.isascii()
        assert len(f".{name}.00000.perturbed.abcdefgh.parquet") < 200
    ascii_names = [name for name in LONG if name.isascii()]
    others = sample_ids(ascii_names[::-1])[::-1]  # whatever the other samples are called
    assert others == [name for name, long in zip(ids, LONG, strict=True) if long.isascii()]
    assert sample_ids(["x" * 120]) == ["x" * 120]
    assert len(sample_ids(["x" * 121])[0]) == 120


@pytest.mark.parametrize(
    "content",
    [
        "gene,s1,s1\nA,1,2\n",  # two columns of one name
        "sample," + ",".join(f"GENE{n:05d}" for n in range(20_000)) + "\ns1" + ",1" * 20_000,
        "gène,s1\nA,2\n".encode("latin-1"),
        "",
    ],
)
def test_a_table_of_data_is_no_samplesheet(content, tmp_path):
    path = tmp_path / "bulk.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert sheet_paths(path) is None


def test_the_paths_of_a_samplesheet_are_listed_whatever_else_is_wrong(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text('"sample"; path\na;"b;c.h5ad"\n;\nb;\n', encoding="utf-8-sig")
    assert sheet_paths(path) == ["b;c.h5ad", None]
    path.write_text("sample,path,path\na,b,c\n")
    assert sheet_paths(path) == []  # read_samplesheet has the fault
