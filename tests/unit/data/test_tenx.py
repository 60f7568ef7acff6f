"""10x formats: what scanpy makes of them, without reading them whole."""

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from making import cells, write_input

from c2sflow.common.errors import UserError
from c2sflow.data import csc_to_csr as row_bands
from c2sflow.data import tenx
from c2sflow.data.readers import open_anndata

SCANPY = {
    "10x-h5": lambda path: sc.read_10x_h5(path, gex_only=False),
    "10x-directory": lambda path: sc.read_10x_mtx(
        path, prefix="GSM1_", make_unique=False, gex_only=False
    ),
}
NAMES = ("genes", "gene_names", "barcodes")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_h5_of_cell_ranger_2(tmp_path):
    made, path = cells(), tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("GRCh38")
        matrix = made.X.tocsr()
        arrays = {"data": matrix.data.astype(np.int32), "indices": matrix.indices}
        shape = np.array(made.shape[::-1], np.int32)
        arrays |= {"indptr": matrix.indptr, "shape": shape, "gene_names": made.var_names}
        arrays |= {"barcodes": made.obs_names, "genes": [f"ENSG{n}" for n in range(made.n_vars)]}
        for name, values in arrays.items():
            group[name] = np.asarray(values, "S") if name in NAMES else values
    expected = sc.read_10x_h5(path)
    with open_anndata(path) as data:
        assert list(data.obs.index) == list(expected.obs_names)
        pd.testing.assert_frame_equal(data.var, expected.var)
        assert np.array_equal(data.rows(3, 31).toarray(), expected.X[3:31].toarray())


def test_h5_of_cell_ranger_2_with_two_genomes(tmp_path):
    """A group for each genome, with other cells in another order: one matrix of all cells."""
    made, path = cells(), tmp_path / "old.h5"
    parts = {"hg19": made[:25, :20], "mm10": made[[39, 30, 22, 3], 20:]}
    with h5py.File(path, "w") as file:
        for genome, part in parts.items():
            group, matrix = file.create_group(genome), part.X.tocsr()
            arrays = {"data": matrix.data.astype(np.int32), "indices": matrix.indices}
            arrays |= {"indptr": matrix.indptr, "shape": np.array(part.shape[::-1], np.int32)}
            arrays |= {"barcodes": part.obs_names, "gene_names": part.var_names}
            arrays |= {"genes": part.var_names}
            for name, values in arrays.items():
                group[name] = np.asarray(values, "S") if name in NAMES else values
    expected = ad.concat(list(parts.values()), axis=1, join="outer", fill_value=0)
    with open_anndata(path) as data:
        assert list(data.var["genome"]) == ["hg19"] * 20 + ["mm10"] * 14
        assert set(data.obs.index) == set(expected.obs_names)
        wanted = expected[data.obs.index].to_df().to_numpy()
        assert np.array_equal(data.rows(0, 99).toarray(), wanted)
        assert np.array_equal(data.rows(5, 7).toarray(), wanted[5:7])


def with_antibodies(path):
    """Make every third feature an antibody."""
    if path.is_dir():
        features = path / "GSM1_features.tsv.gz"
        lines = gzip.decompress(features.read_bytes()).decode().splitlines()
        lines[::3] = [line.replace("Gene Expression", "Antibody Capture") for line in lines[::3]]
        features.write_bytes(gzip.compress("\n".join(lines).encode()))
    else:
        with h5py.File(path, "r+") as file:
            types = np.array([b"Gene Expression "] * len(file["matrix/features/id"]))
            types[::3] = b"Antibody Capture"
            del file["matrix/features/feature_type"]
            file["matrix/features/feature_type"] = np.char.strip(types)


@pytest.mark.parametrize("kind", list(SCANPY))
@pytest.mark.parametrize("change", [Path, with_antibodies])
@pytest.mark.parametrize("block", [7, 2**21])
def test_equals_scanpy(kind, change, block, tmp_path, monkeypatch):
    monkeypatch.setattr(tenx, "BLOCK", block)
    monkeypatch.setattr(row_bands, "BAND", block)
    path = write_input(cells(), kind, tmp_path)
    change(path)
    expected = SCANPY[kind](path)
    with open_anndata(path) as data:
        assert list(data.obs.index) == list(expected.obs_names)
        pd.testing.assert_frame_equal(data.var, expected.var, check_like=True, check_names=False)
        for _, rows in data.chunks(11):
            assert rows.has_canonical_format
        assert np.array_equal(data.rows(3, 31).toarray(), expected.X[3:31].toarray())


@pytest.mark.parametrize("legacy", ["genes.tsv", "genes.tsv.gz", "features.tsv"])
def test_directories_of_all_ages(legacy, tmp_path):
    path = write_input(cells(), "10x-directory", tmp_path)
    (path / "GSM1_features.tsv.gz").unlink()
    text = "".join(f"ENSG{n}\t{'NA' if n == 3 else f'G{n}'}\n" for n in range(34)).encode()
    (path / f"GSM1_{legacy}").write_bytes(gzip.compress(text) if legacy.endswith("gz") else text)
    with open_anndata(path) as data:
        assert list(data.var_names[2:5]) == ["G2", "NA", "G4"]
        assert np.array_equal(data.rows(0, 40).toarray(), cells().X.toarray())


def matrix_of(change):
    """Spoil the text of matrix.mtx."""

    def spoil(path):
        matrix = path / "GSM1_matrix.mtx.gz"
        text = gzip.decompress(matrix.read_bytes()).decode()
        matrix.write_bytes(gzip.compress(change(text).encode()))

    return spoil


def cut(path):
    matrix = path / "GSM1_matrix.mtx.gz"
    matrix.write_bytes(matrix.read_bytes()[:-200])


def change_entry(text):
    """The last entry is of a gene that is not there."""
    *lines, last = text.splitlines()
    return "\n".join([*lines, "99 " + last.split(" ", 1)[1], ""])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "GSM1_barcodes.tsv.gz").unlink(), "no GSM1_barcodes.tsv"),
        (lambda path: (path / "GSM1_features.tsv.gz").unlink(), "no GSM1_features.tsv"),
        (matrix_of(lambda text: text.replace("coordinate", "array")), "no coordinate matrix"),
        (matrix_of(lambda text: text.replace("integer", "complex")), "complex values"),
        (matrix_of(lambda text: text.rsplit("\n", 9)[0]), "entries, not"),
        (matrix_of(lambda text: text.replace("\n34 40 ", "\n34 41 ")), "34 × 41, not 34 × 40"),
        (matrix_of(change_entry), "not there"),
        (matrix_of(lambda text: text + "a b c\n"), "cannot be read"),
        (cut, "cannot be read"),
    ],
)
def test_a_damaged_directory_is_said(spoil, message, tmp_path):
    path = write_input(cells(), "10x-directory", tmp_path)
    spoil(path)
    with pytest.raises(UserError, match=message), open_anndata(path) as data:
        data.rows(0, 40)


@pytest.mark.parametrize("name", ["indices", "data", "barcodes"])
def test_a_damaged_h5_is_said(name, tmp_path):
    path = write_input(cells(), "10x-h5", tmp_path)
    with h5py.File(path, "r+") as file:
        values = file[f"matrix/{name}"][:-9]
        del file[f"matrix/{name}"]
        file[f"matrix/{name}"] = values
    with pytest.raises(UserError, match="cannot be read"), open_anndata(path) as data:
        data.rows(0, 40)
