"""Input of every malformed kind on its way through VALIDATE, QC and SENTENCES.

Each either works or is refused with one clear message, and leaves nothing behind.
"""

import shutil
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from making import SYMBOLS, cells, write_input
from scipy import sparse
from steps_in_process import data_side

from c2sflow.common.errors import UserError
from c2sflow.data.readers import open_anndata

NASTY = "$(touch pwned) `id` ; rm -rf ~ | & > \\ 'q' \"d\" é 細胞\t\n%s {x}"


def saved(change, suffix="h5ad", encode=None):
    """Writes good cells after this change; `encode` makes their matrix."""

    def make(folder: Path) -> Path:
        data = cells()
        data = change(data) if change else data
        if encode:
            data = ad.AnnData(encode(data.X), obs=data.obs, var=data.var)
        path = folder / f"x.{suffix}"
        data.write_zarr(path) if suffix == "zarr" else data.write_h5ad(path)
        return path

    return make


def edited(edit):
    """Writes good cells, then edits the HDF5 file."""

    def make(folder: Path) -> Path:
        cells().write_h5ad(folder / "x.h5ad")
        with h5py.File(folder / "x.h5ad", "r+") as file:
            edit(file)
        return folder / "x.h5ad"

    return make


def written(name, content):
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / name

    return make


def cut(kind, share):
    """A file of this kind of which the end is missing."""

    def make(folder: Path) -> Path:
        path = write_input(cells(400), kind, folder)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return make


def with_value(value):
    def change(data):
        data.X.data[7] = value
        return data

    return change


def with_x(function):
    def change(data):
        data.X = function(data.X)
        return data

    return change


def with_genes(names):
    def change(data):
        data.var_names = [*names, *data.var_names[len(names) :]]
        return data

    return change


def with_obs(**columns):
    def change(data):
        data.obs = data.obs.assign(**columns)
        return data

    return change


def replaced(name, values):
    def edit(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)

    return edit


def unsorted(matrix):
    """Indices of each row backwards, int64."""
    rows = [slice(*span) for span in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)]
    indices = np.concatenate([matrix.indices[row][::-1] for row in rows]).astype(np.int64)
    values = np.concatenate([matrix.data[row][::-1] for row in rows])
    return sparse.csr_matrix((values, indices, matrix.indptr.astype(np.int64)), matrix.shape)


def explicit_zeros(matrix):
    coo = matrix.tocoo()
    empty = np.argwhere(matrix.toarray() == 0)[:50]
    values = np.r_[coo.data, np.zeros(len(empty), coo.dtype)]
    rows, columns = np.r_[coo.row, empty[:, 0]], np.r_[coo.col, empty[:, 1]]
    order = np.argsort(rows, kind="stable")
    pointers = np.r_[0, np.cumsum(np.bincount(rows, minlength=matrix.shape[0]))]
    return sparse.csr_matrix((values[order], columns[order], pointers), matrix.shape)


def versions(n):
    return [f"ENSG{number:011}.{number % 9}" for number in range(n)]


def with_symbols(data):
    data.var = pd.DataFrame({"gene_name": SYMBOLS}, index=versions(len(SYMBOLS)))
    return data


def repeated_ids(data):
    data.obs_names = ["same"] * data.n_obs
    return data


def numeric_ids(data):
    data.obs_names = [str(n) for n in range(data.n_obs)]
    return data


def mouse_and_human(data):
    kinds = pd.Categorical(["Homo sapiens", "Mus musculus"] * 20)
    return with_obs(organism=kinds)(data)


def only(rows):
    return lambda data: data[rows].copy()


def odd_categories(data):
    values = pd.Categorical(["a\tb", "é 細胞", "", "'; drop"] * 10)
    return with_obs(**{"my col $(id)": values, "nul": pd.array([1, None] * 20, "Int64")})(data)


def without(name):
    def edit(file):
        del file[name]

    return edit


def old_zarr(folder: Path) -> Path:
    path = saved(None, "zarr")(folder)
    shutil.rmtree(path / "obs")
    return path


def torn_zarr(folder: Path) -> Path:
    path = saved(None, "zarr", sparse.csr_matrix)(folder)
    if not (path / ".zmetadata").exists():
        pytest.skip("zarr 3 keeps that copy within zarr.json")
    group = zarr.open_group(path, mode="r+")
    group["X/data"].resize((3,))
    (path / ".zmetadata").unlink()  # a copy of all shapes, which readers would believe
    return path


def nothing(folder: Path) -> Path:
    return folder / "nothing.h5ad"


def empty_folder(folder: Path) -> Path:
    (folder / "x").mkdir()
    return folder / "x"


COUNTS = cells().X.toarray().astype(int)
HEADER = ",".join(["id", *SYMBOLS])
TABLE = "\n".join([HEADER, *(f"s{n}," + ",".join(map(str, row)) for n, row in enumerate(COUNTS))])

# What is refused, and the words that say why and how to mend it.
REFUSED = {
    "no such path": (nothing, "no such file"),
    "empty h5ad": (written("x.h5ad", b""), "cannot be read as h5ad"),
    "empty csv": (written("x.csv", b""), "cannot be read as samples"),
    "empty loom": (written("x.loom", b""), "cannot be read as loom"),
    "empty 10x": (written("x.h5", b""), "cannot be read as 10x HDF5"),
    "no HDF5": (written("x.h5ad", "<html>404</html>"), "cannot be read as h5ad"),
    "pickle": (written("x.pkl", b"\x80\x04N."), "unknown format; give .h5ad"),
    "rds": (written("x.rds", b"\x1f\x8b"), "unknown format"),
    "folder": (empty_folder, "10x matrix directory holds one matrix.mtx"),
    "h5ad cut early": (cut("csr-h5ad", 0.1), "cannot be read as h5ad"),
    "h5ad cut late": (cut("csr-h5ad", 0.9), "cannot be read as h5ad"),
    "loom cut": (cut("loom", 0.5), "cannot be read as loom"),
    "10x cut": (cut("10x-h5", 0.5), "cannot be read as 10x HDF5"),
    "gzip cut": (cut("tsv.gz", 0.5), "cannot be read as samples"),
    "no cells": (saved(only(slice(0))), "no data"),
    "no genes": (saved(lambda data: data[:, :0].copy()), "no data"),
    "no X": (edited(without("X")), "no X"),
    "no obs": (edited(without("obs")), "no X|cannot be read"),
    "no var": (edited(without("var")), "cannot be read as h5ad"),
    "zarr without obs": (old_zarr, "no X|cannot be read"),
    "zarr with short data": (torn_zarr, "cannot be read"),
    "all zeros": (saved(with_x(lambda matrix: matrix * 0)), "all zeros"),
    "NaN": (saved(with_value(np.nan)), "NaN"),
    "infinity": (saved(with_value(np.inf)), "infinite"),
    "minus infinity": (saved(with_value(-np.inf)), "negative|infinite"),
    "negative": (saved(with_value(-1)), "negative"),
    "scaled": (saved(with_x(lambda matrix: (matrix.toarray() - 1.5) / 2)), r"adata\.raw"),
    "square roots": (saved(with_x(lambda matrix: matrix.sqrt())), "ambiguous.*--input_state"),
    "text in X": (edited(replaced("X/data", np.array([b"a"] * 3))), "cannot be read"),
    "indices out of range": (
        edited(lambda file: file["X/indices"].__setitem__(3, 10**6)),
        "cannot be read|gene",
    ),
    "indptr goes back": (
        edited(lambda file: file["X/indptr"].__setitem__(3, 10**6)),
        "cannot be read|damaged",
    ),
    "short data": (edited(replaced("X/data", np.ones(5, np.float32))), "cannot be read|damaged"),
    "obs and X differ": (
        edited(lambda file: file["X"].attrs.__setitem__("shape", [39, 34])),
        "cannot be read|shape|cells",
    ),
    "numeric var names": (saved(with_genes([str(n) for n in range(34)])), "organism|identifiers"),
    "Ensembl ids with versions": (saved(with_genes(versions(34))), "identifiers.*--gene_symbols"),
    "empty organism": (saved(with_obs(organism=["human", None] * 20)), "empty for 20 cells"),
    "a row with a field more": (
        written("x.csv", TABLE.replace("\ns3,", "\ns3,x,", 1)),
        "line 5 has 36 fields, not 35",
    ),
    "bulk with text": (
        written("x.csv", TABLE.replace("\ns3,", "\ns3,x", 1)),
        "line 5, column 'GENE0' holds text",
    ),
    "bulk with one column": (written("x.csv", "id\ns1\ns2\n"), "no data|cannot be read"),
    "binary csv": (written("x.csv", bytes(range(256))), "cannot be read"),
    "samplesheet without path": (written("x.csv", "sample,file\na,b.h5ad\n"), "sample and path"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line_and_nothing_left(kind, tmp_path):
    make, message = REFUSED[kind]
    path, outdir = make(tmp_path), tmp_path / "out"
    outdir.mkdir()
    with pytest.raises(UserError, match=message) as error:
        data_side(path, outdir)
    first, *faults = str(error.value).splitlines()
    assert len(faults) <= 1, faults
    assert path.stem in (faults or [first])[0]
    assert list(outdir.iterdir()) == []


PLAIN = saved(None)
# What looks bad and works: the sentences are those of the plain cells.
THE_SAME = {
    "float64": saved(with_x(lambda matrix: matrix.astype(np.float64))),
    "integers": saved(with_x(lambda matrix: matrix.astype(np.int64))),
    "unsigned bytes": saved(with_x(lambda matrix: matrix.astype(np.uint8))),
    "dense": saved(with_x(lambda matrix: matrix.toarray())),
    "dense by columns": saved(with_x(lambda matrix: np.asfortranarray(matrix.toarray()))),
    "CSC": saved(with_x(sparse.csc_matrix)),
    "sparse array": saved(None, encode=sparse.csr_array),
    "unsorted int64 indices": saved(with_x(unsorted)),
    "explicit zeros": saved(with_x(explicit_zeros)),
    "zarr": saved(None, "zarr"),
    "zarr, CSC": saved(with_x(sparse.csc_matrix), "zarr"),
    "odd obs": saved(odd_categories),
    "shell in a column": saved(with_obs(**{NASTY.replace("/", ""): NASTY})),
    "symbols beside ids with versions": saved(with_symbols),
    "no raw, no layers": saved(lambda data: ad.AnnData(data.X, obs=data.obs, var=data.var)),
    "raw beside X": saved(lambda data: setattr(data, "raw", data.copy()) or data),
    "no obs columns": saved(lambda data: ad.AnnData(data.X, data.obs[[]], data.var)),
    "mixed organisms": saved(mouse_and_human),
    "lower case symbols": saved(with_genes([name.capitalize() for name in SYMBOLS])),
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Sentences of the good cells."""
    folder = tmp_path_factory.mktemp("plain")
    return data_side(PLAIN(folder), folder)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", THE_SAME)
def test_works_as_the_plain_cells_do(kind, tmp_path, expected):
    assert data_side(THE_SAME[kind](tmp_path), tmp_path) == expected
    assert not (tmp_path / "pwned").exists()


OTHERWISE = {
    "one cell": (saved(only(slice(1))), 1),
    "one gene": (saved(lambda data: data[:, ["ACTB"]].copy()), None),
    "repeated cell names": (saved(repeated_ids), 40),
    "byte-order mark": (written("x.csv", "\ufeff" + TABLE), 40),
    "Windows line ends": (written("x.csv", TABLE.replace("\n", "\r\n")), 40),
    "quoted fields": (written("x.csv", TABLE.replace("ACTB", '"ACTB"')), 40),
    "one sample of bulk": (written("x.csv", "\n".join(TABLE.split("\n")[:2])), 1),
    "bulk with genes in rows": (written("x.csv", "gene,s1,s2\nACTB,5,6\nGAPDH,1,0\n"), 2),
    "an empty cell": (saved(with_x(lambda matrix: _without_row(matrix, 3))), 39),
    "numeric cell names": (saved(numeric_ids), 40),
    "repeated genes": (saved(with_genes(["ACTB"])), 40),
    "a gene named nan": (saved(with_genes(["nan"])), 40),
    "genes with spaces": (saved(with_genes(["A B", "A\tB", NASTY])), 40),
}


def _without_row(matrix, row):
    dense = matrix.toarray()
    dense[row] = 0
    return sparse.csr_matrix(dense)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", OTHERWISE)
def test_works(kind, tmp_path):
    make, n_cells = OTHERWISE[kind]
    sentences = data_side(make(tmp_path), tmp_path)
    assert n_cells in (None, len(sentences))
    assert all(sentences)
    for text in sentences:
        words = text.split(" ")
        assert len(words) == len(set(words))
        assert not any(set(word) & set("\t\n") for word in words)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of a good file in each format that is one file."""
    folder = tmp_path_factory.mktemp("whole")
    kinds = ("csr-h5ad", "csc-h5ad", "dense-h5ad", "10x-h5", "loom", "csv", "tsv.gz")
    return {kind: write_input(cells(), kind, folder) for kind in kinds} | {
        kind: path.read_bytes()
        for kind, path in ((kind, write_input(cells(), kind, folder)) for kind in kinds)
    }


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused(whole, tmp_path_factory, data):
    """A reader gives cells of the shape it says, or a UserError: no other exception, no crash."""
    kind = data.draw(st.sampled_from(sorted(whole)))
    content = bytearray(whole[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + 1] = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.getbasetemp() / f"fuzzed.{kind.split('-')[-1]}"
    path.write_bytes(content)
    said = ""
    try:
        with open_anndata(path) as opened:
            blocks = [block for _, block in opened.chunks(16)]
            assert sum(block.shape[0] for block in blocks) == opened.n_obs
            assert {block.shape[1] for block in blocks} == {opened.n_vars}
            for block in blocks:
                block.check_format(full_check=True)
    except UserError as error:
        said = str(error)
    assert "\n" not in said
