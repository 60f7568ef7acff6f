"""One AnnData file from the samples' QC files and the shards' embeddings.

Arrays are copied from file to file in blocks of rows: memory holds obs, the index and one block,
never a matrix. Every embedding finds its cell by id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset
from pandas.api.types import (
    is_bool_dtype,
    is_integer_dtype,
    is_unsigned_integer_dtype,
    union_categoricals,
)
from scipy import sparse

from c2sflow.cells import RowWriter, append_dense, create_h5ad
from c2sflow.elements import write_element
from c2sflow.errors import UserError
from c2sflow.layout import add_layout
from c2sflow.named_arrays import NUMBERS
from c2sflow.provenance import remedy, write_beside

LOGGER = logging.getLogger(__name__)
BLOCK = 4096  # rows copied at a time


@dataclass
class Sample:
    """One sample to merge.

    Attributes
    ----------
    id
        File-safe name.
    name
        The sample's name as the user gave it.
    path
        h5ad from QC: X log-normalised, obs, var, layers, obsm.
    embeddings
        The h5ad files of its shards, in the order of the cells.
    annotations
        The Parquet files of the shards' cell types, likewise; empty if there are none.
    """

    id: str
    name: str
    path: Path
    embeddings: list[Path]
    annotations: list[Path] = field(default_factory=list)


# ------------------------------------------------------------------ obs and var


def concat_obs(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all frames; a column that a frame lacks is missing there, in a type that has that.

    Categories are united, integers and booleans with gaps become pandas' nullable types, so that
    anndata can write them.
    """
    columns = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    index = pd.Index(np.concatenate([frame.index.to_numpy(dtype=object) for frame in frames]))
    joined = {name: _concat_column(name, frames) for name in columns}
    return pd.DataFrame(joined, index=range(len(index))).set_axis(index.astype(str))


def _concat_column(name: str, frames: Sequence[pd.DataFrame]) -> pd.Series:
    parts = [
        frame[name] if name in frame else pd.Series(pd.NA, frame.index, dtype=object)
        for frame in frames
    ]
    present = [frame[name] for frame in frames if name in frame]
    if all(isinstance(part.dtype, pd.CategoricalDtype) for part in present):
        ordered = present[0].cat.ordered and all(p.dtype == present[0].dtype for p in present)
        plain = [part.cat.as_unordered() for part in present]
        categories = union_categoricals(plain).categories
        dtype = pd.CategoricalDtype(categories, ordered=ordered)
        return pd.Series(np.concatenate([p.to_numpy(dtype=object) for p in parts]), dtype=dtype)
    if len(present) < len(frames):
        if all(is_bool_dtype(part) for part in present):
            parts = [part.astype("boolean") for part in parts]
        elif all(is_integer_dtype(part) for part in present):
            unsigned = all(is_unsigned_integer_dtype(part) for part in present)
            parts = [part.astype("UInt64" if unsigned else "Int64") for part in parts]
        elif all(pd.api.types.is_numeric_dtype(part) for part in present):
            parts = [part.astype("Float64").astype(float) for part in parts]
    joined = pd.concat(parts, ignore_index=True)
    if joined.dtype == object:  # text, or a mixture: text is what can be written
        joined = joined.map(str, na_action="ignore").astype("category")
    return joined


def unique_names(names: Sequence[pd.Index], samples: Sequence[str]) -> pd.Index:
    """Names of all cells: as they are if no two samples share one, else with "-<sample>"."""
    together = pd.Index(np.concatenate([index.to_numpy(dtype=object) for index in names]))
    if together.is_unique:
        return together.astype(str)
    LOGGER.warning("samples share cell names: '-<sample>' is appended to each")
    suffixed = [
        index.astype(str) + f"-{sample}" for index, sample in zip(names, samples, strict=True)
    ]
    return pd.Index(np.concatenate([index.to_numpy(dtype=object) for index in suffixed]))


def outer_genes(names: Sequence[pd.Index]) -> tuple[pd.Index, list[np.ndarray]]:
    """Union of the samples' genes in order of appearance, and each sample's columns in it."""
    genes = pd.Index(list(dict.fromkeys(gene for index in names for gene in index)), dtype=object)
    return genes, [genes.get_indexer(index).astype(np.int32) for index in names]


# ------------------------------------------------------------------ embeddings to cells


def read_embeddings(
    sample: Sample, cell_ids: pd.Index
) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """obs and X_c2s of each shard; together they must be exactly `cell_ids`, in order.

    Raises
    ------
    UserError
        If a shard is missing or unreadable, or its cells are missing, doubled or foreign.
    """
    start = 0
    for path in sample.embeddings:
        try:
            with h5py.File(path) as file:
                obs = read_elem(file["obs"])
                vectors = read_elem(file["obsm/X_c2s"])
        except (OSError, KeyError) as error:
            raise UserError(
                f"sample {sample.id}: shard {path.name} is missing or broken ({error}); "
                f"{remedy(path)}"
            ) from None
        expected = cell_ids[start : start + len(obs)]
        if not obs.index.equals(expected):
            raise UserError(
                f"sample {sample.id}: shard {path.name} {_difference(obs.index, cell_ids)}; "
                f"{remedy(path)}"
            )
        start += len(obs)
        yield obs.set_axis(expected), vectors  # the same strings: each name is held once
    if start != len(cell_ids):
        raise UserError(
            f"sample {sample.id}: {len(cell_ids) - start} cells have no embedding, the first "
            f"is {cell_ids[start]!r}"
        )


def read_annotations(sample: Sample, cell_ids: pd.Index) -> pd.DataFrame:
    """c2s_cell_type and its probability of each cell; the cells must be `cell_ids`, in order.

    Without annotations, no column.

    Raises
    ------
    UserError
        If a shard is missing or unreadable, or its cells are missing, doubled or foreign.
    """
    if not sample.annotations:
        return pd.DataFrame(index=cell_ids)
    tables = []
    for path in sample.annotations:
        try:
            tables.append(pd.read_parquet(path))
        except (OSError, ValueError) as error:
            raise UserError(
                f"sample {sample.id}: shard {path.name} is missing or broken ({error}); "
                f"{remedy(path)}"
            ) from None
    table = pd.concat(tables).set_index("cell_id")
    if not table.index.equals(cell_ids):
        raise UserError(
            f"sample {sample.id}: the cell types are not those of its cells: the table "
            + _difference(table.index, cell_ids)
        )
    labels = pd.Categorical(table["c2s_cell_type"])
    return table.assign(c2s_cell_type=labels).set_axis(cell_ids)


def _difference(found: pd.Index, cell_ids: pd.Index) -> str:
    foreign = found.difference(cell_ids)
    if len(foreign):
        return f"holds cells of another sample, such as {foreign[0]!r}"
    if not found.is_unique:
        return f"holds cells twice, such as {found[found.duplicated()][0]!r}"
    return "does not hold the cells that come next: a shard is missing, doubled or out of order"


# ------------------------------------------------------------------ writing by blocks


def _new_columns(block: sparse.csr_matrix, columns: np.ndarray, n_vars: int) -> sparse.csr_matrix:
    indices = columns[block.indices]
    moved = sparse.csr_matrix((block.data, indices, block.indptr), shape=(block.shape[0], n_vars))
    moved.sort_indices()
    return moved


def _shared(files: Sequence[h5py.File], group: str) -> list[str]:
    """Paths of what `group` has in every file; the rest is left out, and said."""
    keys = [set(file.get(group, ())) - {"X_c2s"} for file in files]  # ours, also of earlier runs
    shared = sorted(set.intersection(*keys))
    if group == "obsm":
        shared = [key for key in shared if _same_width([file[group][key] for file in files])]
    left_out = sorted(set.union(*keys) - set(shared))
    if left_out:
        LOGGER.warning("%s %s: not the same in every sample, left out", group, ", ".join(left_out))
    return [f"{group}/{key}" for key in shared]


def _same_width(items: Sequence[h5py.Dataset | h5py.Group]) -> bool:
    numbers = (isinstance(item, h5py.Dataset) and item.dtype.kind in NUMBERS for item in items)
    return all(numbers) and (len({(item.shape[1:], item.dtype) for item in items}) == 1)


def _copy_matrices(
    files: Sequence[h5py.File], out: h5py.File, columns: Sequence[np.ndarray], n_vars: int
) -> None:
    """X, layers and obsm of all samples; those of a single one as they are, compressed.

    An X_c2s of an earlier run gives way to the one that `out` has already.
    """
    if len(files) == 1:
        (file,) = files
        keys = [f"{group}/{key}" for group in ("layers", "obsm") for key in file.get(group, ())]
        for key in ["X", *keys]:
            if key not in out:
                file.copy(key, out, name=key)
        return
    keys, obsm = ["X", *_shared(files, "layers")], _shared(files, "obsm")
    writers = {key: RowWriter(out, key, n_vars) for key in keys}
    for file, moved in zip(files, columns, strict=True):
        _copy_rows(file, writers, moved, n_vars)
        _copy_dense(file, out, obsm)


def _copy_rows(
    source: h5py.File, writers: Mapping[str, RowWriter], columns: np.ndarray, n_vars: int
) -> None:
    """Append X and layers of one sample, block by block, its genes moved to their new columns."""
    for key, writer in writers.items():
        item = source[key]
        matrix = sparse_dataset(item) if isinstance(item, h5py.Group) else item
        for start in range(0, matrix.shape[0], BLOCK):
            block = sparse.csr_matrix(matrix[start : start + BLOCK])
            writer.append(_new_columns(block, columns, n_vars))


def _copy_dense(source: h5py.File, target: h5py.File, keys: Sequence[str]) -> None:
    for key in keys:
        for start in range(0, source[key].shape[0], BLOCK):
            append_dense(target, key, source[key][start : start + BLOCK])


def _open(sample: Sample) -> h5py.File:
    try:
        return h5py.File(sample.path)
    except OSError as error:
        raise UserError(
            f"sample {sample.id}: {sample.path.name} is missing or broken ({error}); "
            f"{remedy(sample.path)}"
        ) from None


def merge_samples(
    samples: Sequence[Sample], target: str | Path, uns: Mapping, store_umap: bool = False
) -> pd.DataFrame:
    """Write c2s.h5ad: every cell of every sample, in order, with ``obsm["X_c2s"]``.

    Parameters
    ----------
    samples
        In the order of the samplesheet.
    target
        Written whole or not at all.
    uns
        Provenance, stored as ``uns["c2s"]``.
    store_umap
        Add what `c2sflow.layout.add_layout` makes of the embeddings.

    Returns
    -------
    obs of the merged file.

    Raises
    ------
    UserError
        If the embeddings are not exactly those of the samples' cells.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(_open(sample)) for sample in samples]
        frames = [read_elem(file["obs"]) for file in files]
        variables = [read_elem(file["var"]) for file in files]
        genes, columns = outer_genes([var.index for var in variables])
        partial = stack.enter_context(write_beside(target))
        out = stack.enter_context(
            create_h5ad(partial, pd.DataFrame(), _merge_var(variables, genes))
        )
        for n, sample in enumerate(samples):
            made = []
            for obs, vectors in read_embeddings(sample, frames[n].index):
                append_dense(out, "obsm/X_c2s", vectors.astype(np.float32, copy=False))
                made.append(obs)
            # Cells are in the same order; a column of an earlier run gives way.
            said = read_annotations(sample, frames[n].index)
            frames[n] = frames[n].assign(**pd.concat(made), **said)
        _copy_matrices(files, out, columns, len(genes))
        names = unique_names([frame.index for frame in frames], [s.name for s in samples])
        obs = concat_obs(frames).set_axis(names)
        write_element(out, "obs", obs)
        write_element(out, "uns", {"log1p": {"base": 10.0}, "c2s": dict(uns)})
        if store_umap:
            add_layout(out, seed=uns.get("seed", 42))
    return obs


def _merge_var(variables: Sequence[pd.DataFrame], genes: pd.Index) -> pd.DataFrame:
    """Columns that say the same of a gene in every sample; QC's own counts are per sample."""
    if len(variables) == 1:
        return variables[0]
    shared = [c for c in variables[0] if all(c in var for var in variables)]
    merged = pd.concat([var[shared] for var in variables])
    first = merged[~merged.index.duplicated()].reindex(genes)
    agree = [c for c in shared if merged[c].astype(str).groupby(level=0).nunique().max() == 1]
    return first[agree]
