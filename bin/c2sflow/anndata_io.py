"""Reading cells from disk by rows, whatever the format, and writing them the same way.

Memory is bounded by the chunk of rows for CSR and dense `.h5ad` and `.zarr`, and for `.loom`.
CSC matrices, 10x and text files, and h5ad files of anndata before 0.7 are read whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem, read_h5ad, sparse_dataset, write_elem
from anndata.utils import make_index_unique
from scipy import sparse

from c2sflow.errors import UserError

FORMATS = ".h5ad, .zarr, 10x .h5, a 10x matrix directory, .loom, or .csv/.tsv[.gz]"
# Elements of a dense block of the default chunk: 128 MiB of float32.
CHUNK_ELEMENTS = 2**25
ENSEMBL = r"^ENS[A-Z]{0,6}G\d{6,}(?:\.\d+)?$"


class CellData(AbstractContextManager):
    """Cells × genes, read by chunks of rows.

    Parameters
    ----------
    elements
        An open h5ad or zarr group or an AnnData: holds X and layers by path ("layers/counts").
    obs, var
        Annotations. Names of cells that occur twice are made unique, as scanpy does it.
    path
        Where the data comes from, for messages.
    """

    def __init__(self, elements: object, obs: pd.DataFrame, var: pd.DataFrame, path: Path):
        self._elements = elements
        self._matrices: dict[str, object] = {}
        self.path = path
        self.duplicate_names = int(obs.index.duplicated().sum())
        self.obs = obs.set_axis(_unique_names(obs.index), axis=0)
        self.var = var.set_axis(var.index.astype(str).rename(None), axis=0)
        if not self.n_obs or not self.n_vars:
            raise UserError(f"{path}: no data ({self.n_obs} cells × {self.n_vars} genes)")

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        store = getattr(self._elements, "file", None)
        if isinstance(store, h5py.File):
            store.close()

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.obs)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self.var)

    @property
    def var_names(self) -> pd.Index:
        """Names of the genes."""
        return self.var.index

    @property
    def layers(self) -> list[str]:
        """Names of the layers."""
        return list(self._group("layers"))

    @property
    def uns(self) -> dict:
        """Unstructured annotation."""
        return dict(self._group("uns", read=True))

    def obsm(self) -> dict[str, np.ndarray | pd.DataFrame]:
        """Arrays with a row per cell, such as a PCA."""
        return dict(self._group("obsm", read=True))

    def _group(self, name: str, *, read: bool = False) -> Mapping:
        if isinstance(self._elements, AnnData):
            return getattr(self._elements, name)
        if name not in self._elements:
            return {}
        return read_elem(self._elements[name]) if read else self._elements[name]

    def _matrix(self, layer: str | None) -> object:
        """X or a layer, on disk or in memory, to be sliced by rows."""
        key = "X" if layer is None else f"layers/{layer}"
        if key not in self._matrices:
            if isinstance(self._elements, AnnData):
                matrix = self._elements.X if layer is None else self._elements.layers[layer]
            else:
                matrix = self._elements[key]
            if hasattr(matrix, "attrs") and hasattr(matrix, "keys"):
                matrix = sparse_dataset(matrix)
                if matrix.format == "csc":
                    matrix = matrix.to_memory()
            if sparse.issparse(matrix):
                matrix = matrix.tocsr()
            self._matrices[key] = matrix
        return self._matrices[key]

    def rows(self, start: int, stop: int, layer: str | None = None) -> sparse.csr_matrix:
        """Cells `start` to `stop` as CSR: indices sorted, no duplicates, no explicit zeros."""
        matrix = self._matrix(layer)
        # A slice of a matrix in memory shares its values, which are not ours to change.
        block = matrix[start:stop]
        if block.dtype == np.float16:  # which scipy's sparse matrices do not hold
            block = block.astype(np.float32)
        block = sparse.csr_matrix(block, copy=sparse.issparse(matrix))
        block.sum_duplicates()
        block.eliminate_zeros()
        return block

    def chunks(
        self, size: int | None = None, layer: str | None = None
    ) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Blocks of at most `size` cells in order: the first cell's position, and the block.

        Parameters
        ----------
        size
            Cells in a block; None for a size that bounds memory whatever the number of genes.
        layer
            Name of a layer; None for X.
        """
        size = size or max(1, CHUNK_ELEMENTS // self.n_vars)
        for start in range(0, self.n_obs, size):
            yield start, self.rows(start, min(start + size, self.n_obs), layer)

    def sample_rows(self, n_rows: int = 512, n_blocks: int = 8) -> sparse.csr_matrix:
        """About `n_rows` cells in `n_blocks` blocks spread evenly over the file."""
        size = -(-n_rows // n_blocks)
        if self.n_obs <= n_rows:
            return self.rows(0, self.n_obs)
        starts = np.linspace(0, self.n_obs - size, n_blocks).astype(int)
        return sparse.vstack([self.rows(start, start + size) for start in starts], "csr")


def _unique_names(index: pd.Index) -> pd.Index:
    names = index.astype(str).rename(None)
    return names if names.is_unique else make_index_unique(names)


class _Transposed:
    """The matrix of a loom file, which is genes × cells."""

    def __init__(self, matrix: h5py.Dataset):
        self._matrix = matrix

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._matrix[:, rows].T


def open_anndata(source: str | Path | AnnData) -> CellData:
    """Open a file in any of the input formats; use it in a ``with`` block.

    Parameters
    ----------
    source
        Path of the file, folder or store, or an AnnData in memory.

    Raises
    ------
    UserError
        If the format is not known or the content cannot be read.
    """
    if isinstance(source, AnnData):
        return CellData(source, source.obs, source.var, Path("AnnData"))
    path = Path(source)
    opener = _opener(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that are not unique: handled here, and said
            return opener(path)
    except UserError:
        raise
    except Exception as error:  # anything a damaged file can cause in any of the readers
        reason = " ".join(str(error).split())[:200] or "empty file"
        raise UserError(
            f"{path}: cannot be read as {opener.__doc__}: {type(error).__name__}: {reason}"
        ) from None


def _opener(path: Path):
    """Function that opens a file of this name; its docstring names the format."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    name = path.name.lower()
    if path.is_dir():
        is_zarr = any((path / mark).exists() for mark in ("zarr.json", ".zgroup", ".zattrs"))
        return _open_zarr if is_zarr or name.endswith(".zarr") else _open_10x_directory
    openers = {".h5ad": _open_h5ad, ".h5": _open_10x_h5, ".loom": _open_loom}
    openers |= dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), _open_text)
    for suffix, opener in openers.items():
        if name.endswith(suffix):
            return opener
    raise UserError(f"{path}: format not known; give {FORMATS}")


def _open_group(group: object, path: Path) -> CellData:
    if "X" not in group or "obs" not in group:
        raise UserError(f"{path}: no X; write the file with anndata's write_h5ad or write_zarr")
    encoding = group["X"].attrs.get("encoding-type")
    if encoding == "null":
        raise UserError(f"{path}: X is empty; put the values of a layer into adata.X")
    return CellData(group, read_elem(group["obs"]), read_elem(group["var"]), path)


def _open_h5ad(path: Path) -> CellData:
    """h5ad"""
    file = h5py.File(path, "r")
    try:
        if "obs" in file and file["obs"].attrs.get("encoding-type") != "dataframe":
            file.close()
            return _in_memory(read_h5ad(path), path)
        return _open_group(file, path)
    except BaseException:
        file.close()
        raise


def _open_zarr(path: Path) -> CellData:
    """zarr"""
    import zarr

    return _open_group(zarr.open_group(path, mode="r"), path)


def _open_10x_h5(path: Path) -> CellData:
    """10x HDF5"""
    import scanpy as sc

    return _in_memory(sc.read_10x_h5(path), path)


def _open_10x_directory(path: Path) -> CellData:
    """10x matrix directory"""
    import scanpy as sc

    matrices = sorted(path.glob("*matrix.mtx*"))
    if len(matrices) != 1:
        raise UserError(
            f"{path}: a 10x matrix directory holds one matrix.mtx[.gz] with its barcodes and "
            f"features; found {len(matrices)}"
        )
    prefix = matrices[0].name.split("matrix.mtx")[0]
    return _in_memory(sc.read_10x_mtx(path, prefix=prefix or None, make_unique=False), path)


def _open_loom(path: Path) -> CellData:
    """loom"""
    file = h5py.File(path, "r")

    def annotation(attributes: h5py.Group, names: tuple[str, ...]) -> pd.DataFrame:
        columns = {
            key: values.asstr()[:] if h5py.check_string_dtype(values.dtype) else values[:]
            for key, values in attributes.items()
            if values.ndim == 1
        }
        frame = pd.DataFrame(columns)
        index = next((name for name in names if name in frame), None)
        return frame if index is None else frame.set_index(index)

    obs = annotation(file["col_attrs"], ("CellID", "obs_names", "Barcode"))
    var = annotation(file["row_attrs"], ("Gene", "var_names", "Accession"))
    if file["matrix"].shape != (len(var), len(obs)):
        raise UserError(f"{path}: the matrix is not genes × cells as its attributes say")
    return CellData(_LoomElements(file), obs, var, path)


class _LoomElements(dict):
    """X of a loom file, by rows of cells."""

    def __init__(self, file: h5py.File):
        super().__init__(X=_Transposed(file["matrix"]))
        self.file = file


def _open_text(path: Path) -> CellData:
    """a matrix of samples × genes"""
    separator = "\t" if ".tsv" in path.name.lower() else ","
    table = pd.read_csv(path, sep=separator, index_col=0, encoding="utf-8-sig")
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    if words:
        raise UserError(
            f"{path}: column {words[0]!r} holds text; a bulk matrix has sample names in the first "
            "column, gene names in the first line and numbers elsewhere"
        )
    if _looks_transposed(table):
        raise UserError(f"{path}: genes are in rows; transpose it to samples × genes")
    obs, var = pd.DataFrame(index=table.index), pd.DataFrame(index=table.columns)
    # pandas renames repeated columns "TP53.1"; the file's own names are wanted.
    header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, encoding="utf-8-sig")
    if header.shape[1] == len(var) + 1:
        var.index = header.iloc[0, 1:].fillna("").to_numpy()
    matrix = sparse.csr_matrix(table.to_numpy())
    return _in_memory(AnnData(matrix, obs=obs, var=var), path)


def _looks_transposed(table: pd.DataFrame) -> bool:
    """Whether the rows are genes: by Ensembl ids, or well-known genes that any data set has."""
    known = {"ACTB", "GAPDH", "MALAT1", "B2M", "RPLP0"}

    def is_genes(names: pd.Index) -> bool:
        text = pd.Series(names.astype(str))
        return bool(text.str.match(ENSEMBL).mean() > 0.5 or known & set(text.str.upper()))

    return is_genes(table.index) and not is_genes(table.columns)


def _in_memory(data: AnnData, path: Path) -> CellData:
    return CellData(data, data.obs, data.var, path)


class RowWriter:
    """Append blocks of rows to a CSR matrix in an open HDF5 file."""

    def __init__(self, file: h5py.File, key: str, n_columns: int):
        empty = sparse.csr_matrix((0, n_columns), dtype=np.float32)
        # 64-bit row pointers: a matrix of many cells has more than 2^31 entries.
        empty.indptr = empty.indptr.astype(np.int64)
        options = {"compression": "lzf", "chunks": (2**16,)}
        write_elem(file, key, empty, dataset_kwargs=options)
        self._dataset = sparse_dataset(file[key])

    def append(self, block: sparse.csr_matrix) -> None:
        """Append rows; written as float32."""
        if block.shape[0]:
            self._dataset.append(block.astype(np.float32, copy=False))


@contextmanager
def create_h5ad(path: str | Path, obs: pd.DataFrame, var: pd.DataFrame) -> Iterator[h5py.File]:
    """Make an h5ad file with these annotations, to be filled by `RowWriter`s."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(file, "obs", obs)
        write_elem(file, "var", var)
        for name in ("uns", "obsm", "layers", "varm", "obsp", "varp"):
            write_elem(file, name, {})
        yield file
