"""Files of data that cannot be read: what is found in them and what to do, in one line."""

import gzip
import zipfile

import h5py
import numpy as np
import pytest
from making import cells, write_input

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_json, read_json_list, write_json
from c2sflow.data.readers import open_anndata


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    kinds = ("csr-h5ad", "10x-h5", "loom")
    return {kind: write_input(cells(), kind, folder).read_bytes() for kind in kinds}


# Name; what is written; what the line must hold.
WRITTEN = {
    "empty": ("x.h5ad", lambda _: b"", "it is empty; copy or download it again"),
    "zeros": ("x.h5ad", lambda _: bytes(5000), "it is empty"),
    "pointer": (
        "x.h5ad", lambda _: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull",
    ),
    "page": ("x.h5ad", lambda _: b"<html>404</html>", "a web page; download the file itself"),
    "gzip": ("x.h5ad", lambda w: gzip.compress(w["csr-h5ad"]), "by gzip; unpack it: gunzip"),
    "text": ("x.h5ad", lambda _: b"gene,s1\n", "no HDF5 file; is its ending right?"),
    "cut": ("x.h5ad", lambda w: w["csr-h5ad"][:9999], r"not complete \(9,999 bytes\)"),
    "cut loom": ("x.loom", lambda w: w["loom"][:999], r"not complete \(999 bytes\)"),
    "cut 10x": ("x.h5", lambda w: w["10x-h5"][:999], r"not complete \(999 bytes\)"),
    "loom as h5ad": ("x.h5ad", lambda w: w["loom"], "format .loom; name it so"),
    "10x as h5ad": ("x.h5ad", lambda w: w["10x-h5"], "format .h5; name it so"),
    "R": ("x.rds", lambda _: b"\x1f\x8b", "give .h5ad.*write it from R as .h5ad"),
    "pointer as csv": (
        "x.csv", lambda _: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull",
    ),
    "csv as gz": ("x.csv.gz", lambda _: b"a,b\n1,2\n", "not compressed, though its name"),
}  # fmt: skip


def refused(path, message):
    def read():
        with open_anndata(path, path.name) as data:
            list(data.chunks(16))

    with pytest.raises(UserError, match=message) as error:
        read()
    said = str(error.value)
    assert said.startswith(path.name)
    assert "\n" not in said
    assert "Error" not in said
    assert "object at" not in said


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_a_file_is(kind, whole, tmp_path):
    name, content, message = WRITTEN[kind]
    (tmp_path / name).write_bytes(content(whole))
    refused(tmp_path / name, message)


def test_zip_of_a_store(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zarr", "w") as file:
        file.writestr("zarr.json", "{}")
    refused(tmp_path / "x.zarr", "a zip archive; unpack it")


def put(name, values):
    def edit(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)

    return edit


def drop(name):
    return lambda file: file.__delitem__(name)


def say(name, key, value):
    return lambda file: file[name].attrs.__setitem__(key, value)


EDITED = {
    "no var": (drop("var"), "it lacks 'var'; read it with anndata and write it again"),
    "no index": (lambda file: file["obs"].attrs.__delitem__("_index"), "lacks the attribute"),
    "a column that is not there": (
        say("obs", "column-order", np.array(["zzz"], dtype=object)), "it lacks 'zzz'",
    ),
    "obs of numbers": (put("obs", np.arange(3)), "element of the type 'dataframe' where another"),
    "no data": (drop("X/data"), "X lacks its data; write the file again"),
    "no shape": (lambda file: file["X"].attrs.__delitem__("shape"), "X lacks its shape"),
    "other encoding": (say("X", "encoding-type", "banana"), "as 'banana', which is no matrix"),
    "fewer rows": (say("X", "shape", [39, 34]), "row pointers that do not fit its shape"),
    "fewer columns": (say("X", "shape", [40, 3]), "X is 40 × 3, but obs and var are 40 × 34"),
    "huge": (say("X", "shape", [2**40, 34]), "row pointers that do not fit its shape"),
    "fewer pointers": (put("X/indptr", np.arange(3)), "row pointers that do not fit its shape"),
    "fewer values": (put("X/data", np.ones(3)), "not as many values as indices"),
}  # fmt: skip


@pytest.mark.parametrize("kind", EDITED)
def test_what_is_wrong_in_an_h5ad_file(kind, whole, tmp_path):
    edit, message = EDITED[kind]
    path = tmp_path / "x.h5ad"
    path.write_bytes(whole["csr-h5ad"])
    with h5py.File(path, "r+") as file:
        edit(file)
    refused(path, message)


@pytest.mark.parametrize(
    ("content", "reader"),
    [("[]", read_json), ("{}", read_json_list), ("[1]", read_json_list), ("{", read_json)],
)
def test_json_of_another_kind_is_broken(tmp_path, content, reader):
    path = tmp_path / "samples.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"^samples.json is broken \(.*delete .*-resume"):
        reader(path)


def test_json_comes_back(tmp_path):
    write_json(tmp_path / "one.json", {"id": "ä"})
    write_json(tmp_path / "all.json", [{"id": "ä"}])
    assert read_json(tmp_path / "one.json") == {"id": "ä"}
    assert read_json_list(tmp_path / "all.json") == [{"id": "ä"}]
