"""Cells × genes on disk, read by chunks of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem
from anndata.utils import make_index_unique
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.common.files import reason_of
from c2sflow.common.memory import trim_heap
from c2sflow.common.threads import in_threads
from c2sflow.data.columns import clean_columns, native
from c2sflow.data.csc_to_csr import RowBands, csc_rows
from c2sflow.data.csr_rows import CsrRows
from c2sflow.data.named_arrays import layers_of, obsm_of
from c2sflow.data.stored import StoredGroup

# Elements of a block of cells as if it were dense, 420 cells of 20,000 genes; and values that it
# stores, if it is sparse, 100 cells of 2,600 genes each: arrays of a megabyte, which stay in the
# processor's cache and leave no large gaps in the heap.
CHUNK_ELEMENTS, CHUNK_VALUES = 2**23, 2**18
# Blocks after which the heap's gaps go back to the system: blocks are of unequal size, and a gap
# that is too small for the next one is never used again.
BLOCKS_TO_TRIM = 64
X, RAW = "X", "raw/X"  # paths of matrices
# What holds X, layers and the rest by path: an open store, or what a reader has put together.
Elements: TypeAlias = AnnData | StoredGroup | Mapping[str, Any]


class CellData(AbstractContextManager):
    """Cells × genes, read by chunks of rows.

    Parameters
    ----------
    elements
        An open h5ad or zarr group or an AnnData: holds X and layers by path ("layers/counts").
    obs, var
        Annotations, kept as `c2sflow.data.columns.clean_columns` makes them. Names of cells
        that occur twice are made unique, as scanpy does it.
    label
        What messages call the data.

    Attributes
    ----------
    own_names
        Names of the cells before they were made unique.
    notes
        What the reader found or changed that a user should know, a line each: what of obs, var,
        layers and (once read) obsm is renamed, kept as text or left out, among others.
    """

    def __init__(self, elements: Elements, obs: pd.DataFrame, var: pd.DataFrame, label: str):
        self._elements = elements
        self._matrices: dict[str, Any] = {}
        self._x = X
        self._columns: np.ndarray | None = None  # those of the matrix that are genes
        self._width = len(var)
        self._layers_fit = True
        # What a step made of values of this file that another one needs, too: see `reads`.
        self.made: dict[object, Any] = {}
        self.label = label
        self.obs, obs_notes = clean_columns(obs, "obs")
        self.var, var_notes = clean_columns(var, "var")
        if not self.n_obs or not self.n_vars:
            raise UserError(f"{label}: no data ({self.n_obs} cells × {self.n_vars} genes)")
        self.own_names = self.obs.index  # as the file has them
        self.duplicate_names = int(self.obs.index.duplicated().sum())
        if self.duplicate_names:
            self.obs.index = make_index_unique(self.obs.index)
        self._layers, layer_notes = layers_of(self._group("layers"))
        self._obsm: dict[str, Any] | None = None
        self.notes = obs_notes + var_notes + layer_notes

    def __exit__(self, *_: object) -> None:
        """Close the file; remove temporary ones."""
        for matrix in self._matrices.values():
            if isinstance(matrix, RowBands):
                matrix.close()
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
        """Names of the layers; none if raw.X, of other genes, is X."""
        return list(self._layers) if self._layers_fit else []

    @property
    def raw_var(self) -> pd.DataFrame | None:
        """Annotation of the genes of raw.X; None if there is none."""
        if isinstance(self._elements, AnnData):
            raw = self._elements.raw
            return None if raw is None else clean_columns(raw.var, "raw.var")[0]
        raw = self._group("raw")
        if "X" not in raw or "var" not in raw:
            return None
        return clean_columns(read_elem(raw["var"]), "raw.var")[0]

    @property
    def has_x(self) -> bool:
        """Whether X holds anything."""
        if isinstance(self._elements, AnnData):
            return self._elements.X is not None
        x = self._elements.get(X)
        return x is not None and getattr(x, "attrs", {}).get("encoding-type") != "null"

    def take(self, matrix: str, var: pd.DataFrame | None = None) -> None:
        """Read X from another matrix of the same cells from now on.

        Parameters
        ----------
        matrix
            `X`, `RAW`, or the path of a layer ("layers/counts").
        var
            Annotation of its genes; None if they are those of X.
        """
        self._x = matrix
        if var is not None:
            self._layers_fit = self._layers_fit and self.var.index.equals(var.index)
            self.var, self._width = var, len(var)

    def keep(self, columns: np.ndarray) -> None:
        """Read only these columns (bool, n_vars) of X and layers from now on."""
        self._columns = np.flatnonzero(columns)
        self.var = self.var[columns]

    @property
    def reads(self) -> tuple[str, bytes | None]:
        """Which matrix is read and which of its columns, None for all; a key of `made`."""
        return self._x, None if self._columns is None else self._columns.tobytes()

    def recorded(self, name: str) -> object:
        """An entry of uns, or None."""
        uns = self._group("uns")
        if name not in uns:
            return None
        if isinstance(self._elements, AnnData):
            return uns[name]
        with self._reading(f"uns[{name!r}]"):
            return read_elem(uns[name])

    def obsm(self) -> dict[str, Any]:
        """What has a row per cell, such as a PCA; dense arrays stay on disk, to be sliced."""
        if self._obsm is None:
            self._obsm, notes = obsm_of(self._group("obsm"), self.obs.index)
            self.notes += notes
        return self._obsm

    def _group(self, name: str) -> Mapping | StoredGroup:
        if isinstance(self._elements, AnnData):
            return getattr(self._elements, name)
        return self._elements.get(name, {})

    def _matrix(self, layer: str | None) -> Any:
        """X or a layer, on disk or in memory, to be sliced by rows."""
        key = self._x if layer is None else f"layers/{layer}"
        if key not in self._matrices:
            matrix = self._stored(key)
            if hasattr(matrix, "attrs") and hasattr(matrix, "keys"):
                by_columns = matrix.attrs.get("encoding-type") == "csc_matrix"
                matrix = csc_rows(matrix) if by_columns else CsrRows(matrix)
            if sparse.issparse(matrix):
                matrix = matrix.tocsr()
            self._matrices[key] = matrix
        return self._matrices[key]

    @property
    def by_rows(self) -> bool:
        """Whether X is stored so that some rows can be read without all the others."""
        return not isinstance(self._matrix(None), RowBands)

    @property
    def n_stored(self) -> int:
        """Number of values of X that are stored: without zeros where it is sparse."""
        matrix = self._matrix(None)
        if isinstance(matrix, RowBands | CsrRows):
            return matrix.n_entries
        return matrix.nnz if sparse.issparse(matrix) else self.n_obs * self._width

    @contextmanager
    def _other(self, matrix: str) -> Iterator[None]:
        """Read X from another matrix for the block."""
        before = self._x, self._columns, self._width
        width = self._width
        if matrix == RAW:
            raw = self.raw_var
            assert raw is not None
            width = len(raw)
        self._x, self._columns, self._width = matrix, None, width
        try:
            yield
        finally:
            self._x, self._columns, self._width = before

    def _stored(self, key: str) -> Any:
        if key.startswith("layers/"):
            return self._layers[key.removeprefix("layers/")]
        if not isinstance(self._elements, AnnData):
            return self._elements[key]
        return self._elements.X if key == X else self._elements.raw.X

    def rows(
        self,
        start: int,
        stop: int,
        layer: str | None = None,
        columns: np.ndarray | None = None,
    ) -> sparse.csr_matrix:
        """Cells `start` to `stop` as CSR: indices sorted, no duplicates, no explicit zeros.

        `columns` are positions in the matrix as it is stored; None for the genes.
        """
        matrix = self._matrix(layer)
        with self._reading(f"cells {start} to {stop - 1}"):
            block = matrix[start:stop]
            _check_block(block, (max(0, min(stop, self.n_obs) - start), self._width))
        block = block.astype(native(block.dtype), copy=False)
        # A slice of a matrix in memory shares its values, which are not ours to change.
        block = sparse.csr_matrix(block, copy=sparse.issparse(matrix))
        return _canonical(self._narrow(block, columns))

    def _narrow(
        self, block: sparse.csr_matrix, columns: np.ndarray | None = None
    ) -> sparse.csr_matrix:
        columns = self._columns if columns is None else columns
        return block if columns is None else block[:, columns]

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (UserError, MemoryError):
            raise
        except Exception as error:  # anything a damaged file can cause in any of the readers
            raise UserError(
                f"{self.label}: {what} cannot be read: {reason_of(error)}; is the file damaged?"
            ) from None

    def chunks(
        self,
        size: int | None = None,
        layer: str | None = None,
        columns: np.ndarray | None = None,
    ) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Blocks of at most `size` cells in order: the first cell's position, and the block.

        The next block is read while one is used.

        Parameters
        ----------
        size
            Cells in a block; None for a size that bounds memory whatever the number of genes.
        layer
            Name of a layer; None for X.
        columns
            As for `rows`.
        """
        size = size or self._block_size()

        def block(start: int) -> tuple[int, sparse.csr_matrix]:
            return start, self.rows(start, min(start + size, self.n_obs), layer, columns)

        blocks = in_threads(block, range(0, self.n_obs, size), 1)
        for number, found in enumerate(blocks):
            if number % BLOCKS_TO_TRIM == 0:
                trim_heap()
            yield found

    def blocks(self, cells: np.ndarray) -> Iterator[sparse.csr_matrix]:
        """Some cells, by their positions in ascending order, in blocks that bound memory."""
        matrix = self._matrix(None)
        if isinstance(matrix, RowBands):
            with self._reading("a sample of the cells"):
                chosen = matrix.select(cells)
            yield _canonical(self._narrow(chosen))
            return
        size = self._block_size()
        breaks = np.flatnonzero((np.diff(cells) > 1) | (np.diff(cells // size) > 0)) + 1
        runs = [(part[0], part[-1] + 1) for part in np.split(cells, breaks)]
        yield from in_threads(lambda run: self.rows(*run), runs, 1)

    def _block_size(self) -> int:
        """Cells in a block: of a dense matrix in HDF5 whole rows of its chunks, if not too many."""
        size = CHUNK_ELEMENTS // self._width
        if (n_stored := self.n_stored) < self.n_obs * self._width:
            size = min(size, CHUNK_VALUES * self.n_obs // max(1, n_stored))
        size = max(1, size)
        height = (getattr(self._matrix(None), "chunks", None) or (1,))[0]
        return max(height, size // height * height) if height <= 4 * size else size

    def sample_rows(
        self, n_rows: int = 512, n_blocks: int = 8, matrix: str | None = None
    ) -> sparse.csr_matrix:
        """About `n_rows` cells in `n_blocks` blocks spread evenly over the file.

        `matrix` is the path of another matrix than X, all columns of which are read.
        """
        if matrix is not None:
            with self._other(matrix):
                return self.sample_rows(n_rows, n_blocks)
        size = -(-n_rows // n_blocks)
        if self.n_obs <= n_rows:
            return self.rows(0, self.n_obs)
        starts = np.linspace(0, self.n_obs - size, n_blocks).astype(int)
        own = self._matrix(None)
        if isinstance(own, RowBands):
            with self._reading("a sample of the cells"):
                chosen = own.select(np.unique(starts[:, None] + np.arange(size)))
            return _canonical(self._narrow(chosen))
        return sparse.vstack([self.rows(start, start + size) for start in starts], "csr")


def _check_block(block: Any, shape: tuple[int, int]) -> None:
    """Raise ValueError unless these are numbers of this shape, every index within it.

    Compiled code trusts the indices of a sparse matrix: those of a damaged file crash it.
    """
    if block.shape != shape:
        raise ValueError(f"{block.shape[0]} × {block.shape[1]} values, not {shape[0]} × {shape[1]}")
    if block.dtype.kind not in "biuf":
        raise ValueError(f"values are of type {block.dtype}, no numbers")
    if sparse.issparse(block):
        block.check_format(full_check=True)


def _canonical(block: sparse.csr_matrix) -> sparse.csr_matrix:
    """Indices sorted, no duplicates, no explicit zeros; in place."""
    block.sum_duplicates()
    if not block.data.all():
        block.eliminate_zeros()
    return block
