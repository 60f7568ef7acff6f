"""One AnnData file from the samples' QC files and the shards' embeddings.

The samples are read twice, one file open at a time: first obs, and what the samples share, then
the arrays, in blocks of rows. Memory holds obs, the genes of all samples together and one block,
never a matrix. Every embedding finds its cell by id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from anndata.utils import make_index_unique
from scipy import sparse

from c2sflow.common.files import write_beside
from c2sflow.common.opened import reading
from c2sflow.common.progress import progress_bar
from c2sflow.data.concat import concat_obs
from c2sflow.data.genes.alignment import REPEATED, UNKNOWN, GeneAlignment, GeneTable
from c2sflow.data.genes.other_features import feature_names, merge_features, obsm_key
from c2sflow.data.h5ad import (
    RowWriter,
    append_dense,
    create_h5ad,
    row_blocks,
    scale_values,
    write_element,
)
from c2sflow.data.named_arrays import NUMBERS
from c2sflow.data.qc.filtered_genes import PLACE, FilteredColumns, filtered_table, with_filtered
from c2sflow.data.state.normalization import LOG_BASE, LOG_BASES, LogBase, log_ratio
from c2sflow.results.group_membership import add_groups
from c2sflow.results.shards import Sample, read_annotations, read_embeddings
from c2sflow.results.umap import add_umap

LOGGER = logging.getLogger(__name__)
BLOCK = 4096  # rows copied at a time


# ------------------------------------------------------------------ obs and var


def unique_names(names: Sequence[pd.Index], samples: Sequence[str]) -> tuple[pd.Index, list[str]]:
    """Names of all cells: as they are if no two samples share one, else with "-<sample>".

    Returns
    -------
    The names, each once; and what was changed, a line each.
    """
    together = pd.Index(np.concatenate([index.to_numpy(dtype=object) for index in names]))
    if together.is_unique:
        return together.astype(str), []
    notices = ["samples share cell names: '-<sample>' is appended to each"]
    suffixes = np.repeat([f"-{sample}" for sample in samples], [len(index) for index in names])
    suffixed = together.astype(str) + suffixes
    if not suffixed.is_unique:
        n_again = suffixed.duplicated().sum()
        notices.append(f"{n_again} cells have the name of another all the same: numbered")
        suffixed = make_index_unique(suffixed)
    return suffixed, notices


# ------------------------------------------------------------------ what the samples share


@dataclass
class _Shared:
    """What every sample has, and what only some: folded sample by sample."""

    kind: str
    common: dict[str, object] = field(default_factory=dict)
    every: dict[str, None] = field(default_factory=dict)
    n_samples: int = 0

    def add(self, found: Mapping[str, object]) -> None:
        """Take in the names of one sample, each with what must be the same in every sample."""
        self.every |= dict.fromkeys(found)
        before = self.common if self.n_samples else found
        self.common = {
            name: value for name, value in before.items() if name in found and found[name] == value
        }
        self.n_samples += 1

    def notices(self) -> Iterable[str]:
        if left_out := [name for name in self.every if name not in self.common]:
            yield f"{self.kind} {', '.join(left_out)}: not the same in every sample, left out"


def _obsm(file: h5py.File) -> dict[str, object]:
    """Width and type of each array of obsm but ours, also of earlier runs."""
    found, own = {}, {"X_c2s", *map(obsm_key, feature_names(file))}
    for key in file.get("obsm", ()):
        if key in own:
            continue
        item = file["obsm"][key]
        # A table, a sparse matrix or text equals none of another sample.
        is_numbers = isinstance(item, h5py.Dataset) and item.dtype.kind in NUMBERS
        found[key] = (item.shape[1:], item.dtype) if is_numbers else object()
    return found


class VarFold:
    """Columns of var that are the same for a gene in every sample that has it.

    Parameters
    ----------
    columns
        Those that every sample has.
    n_genes
        Of all samples.
    """

    def __init__(self, columns: Iterable[str], n_genes: int):
        self._known = np.zeros(n_genes, dtype=bool)
        self._texts = {name: np.empty(n_genes, dtype=object) for name in columns}
        self._parts: list[pd.DataFrame] = []  # the genes that no sample before had

    def add(self, var: h5py.Group, columns: np.ndarray) -> None:
        """Take in a sample: its var, and the column of each of its genes."""
        is_new = ~self._known[columns]
        for name, texts in [*self._texts.items()]:
            found = _as_bytes(var[name])
            if (texts[columns[~is_new]] != found[~is_new]).any():
                del self._texts[name]
            else:
                texts[columns[is_new]] = found[is_new]
        if is_new.any():
            self._parts.append(read_elem(var).loc[is_new, list(self._texts)])
        self._known[columns] = True

    def frame(self, genes: GeneAlignment) -> pd.DataFrame:
        """var of all genes, with ``gene_ids`` if Ensembl ids are known."""
        frame = pd.concat([part[list(self._texts)] for part in self._parts])
        if "gene_ids" not in frame and any(own != UNKNOWN for own in genes.ids):
            frame["gene_ids"] = genes.ids
        return frame.set_axis(genes.names)


def _as_bytes(item: h5py.Dataset | h5py.Group) -> np.ndarray:
    """Values of a column as UTF-8, to be compared; texts, the most of them, are not decoded."""
    if isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype):
        return item[:]
    values = pd.Series(read_elem(item))
    codes, distinct = pd.factorize(values)
    texts = [str(value).encode() for value in distinct] + [b""]  # of -1: missing
    return np.array(texts, dtype=object)[codes]


# ------------------------------------------------------------------ writing by blocks


def _copy_single(file: h5py.File, out: h5py.File) -> None:
    """X, layers and obsm of the only sample as they are, compressed.

    An X_c2s of an earlier run gives way to the one that `out` has already.
    """
    keys = [f"{group}/{key}" for group in ("layers", "obsm") for key in file.get(group, ())]
    for key in ["X", *keys]:
        if key not in out:
            file.copy(key, out, name=key)


def _copy_rows(
    source: h5py.File,
    writers: Mapping[str, RowWriter],
    columns: np.ndarray,
    filtered: np.ndarray,
    n_vars: int,
) -> int:
    """Append X and layers of one sample, block by block, its genes moved to their new columns.

    Returns
    -------
    Values of X of genes that QC filtered from this sample, in the columns `filtered`.
    """
    n_filtered = 0
    for key, writer in writers.items():
        blocks = row_blocks(source[key], BLOCK)
        if not (filtered >= 0).any():
            for block in blocks:
                writer.append(_moved(block, columns, n_vars))
            continue
        beside = row_blocks(source[f"{PLACE}/{key}"], BLOCK)
        for block, others in zip(blocks, beside, strict=True):
            kept = _moved(block, columns, n_vars)
            joined = with_filtered(kept, others, filtered)
            n_filtered += (joined.nnz - kept.nnz) * (key == "X")
            writer.append(joined)
    return n_filtered


def _moved(block: sparse.csr_matrix, columns: np.ndarray, n_vars: int) -> sparse.csr_matrix:
    entries = (block.data, columns[block.indices], block.indptr)
    return sparse.csr_matrix(entries, (block.shape[0], n_vars))


def _copy_dense(source: h5py.File, target: h5py.File, keys: Iterable[str]) -> None:
    for key in keys:
        for start in range(0, source[key].shape[0], BLOCK):
            append_dense(target, key, source[key][start : start + BLOCK])


def _open(sample: Sample) -> h5py.File:
    with reading(sample.path, f"sample {sample.id}: "):
        return h5py.File(sample.path)


@dataclass
class Merged:
    """What was merged.

    Attributes
    ----------
    obs
        Of all cells.
    genes
        Columns of all genes, and those of each sample's.
    notices
        What a user should know: what was left out, renamed or brought together, a line each.
    """

    obs: pd.DataFrame
    genes: GeneAlignment
    notices: list[str]


def merge_samples(
    samples: Sequence[Sample],
    target: str | Path,
    uns: Mapping,
    store_umap: bool = False,
    base: LogBase = LOG_BASE,
) -> Merged:
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
        Add what `c2sflow.results.umap.add_umap` makes of the embeddings.
    base
        Of the logarithm in X; in the samples' files it is `LOG_BASE`.

    Raises
    ------
    UserError
        If the embeddings are not exactly those of the samples' cells.
    """
    with ExitStack() as stack:
        partial = stack.enter_context(write_beside(target))
        out = stack.enter_context(create_h5ad(partial, pd.DataFrame(), pd.DataFrame()))
        frames, genes, filtered, shared = _survey(samples, out)
        others = merge_features([sample.path for sample in samples], out)
        _copy_matrices(samples, out, genes, filtered, shared)
        if base != LOG_BASE:
            scale_values(out["X/data"], log_ratio(base))
        names, notices = unique_names([frame.index for frame in frames], [s.name for s in samples])
        obs = concat_obs(frames).set_axis(names)
        write_element(out, "obs", obs)
        write_element(out, "uns", {"log1p": {"base": LOG_BASES[base]}, "c2s": dict(uns), **others})
        if store_umap:
            add_umap(out, seed=uns.get("seed", 42))
    notices += [line for found in shared.values() for line in found.notices()]
    notices += genes.notices()
    for line in notices:
        LOGGER.warning(line)
    return Merged(obs, genes, notices)


def _survey(
    samples: Sequence[Sample], out: h5py.File
) -> tuple[list[pd.DataFrame], GeneAlignment, FilteredColumns, dict[str, _Shared]]:
    """First reading: obs of each sample, the genes of all, what they share; X_c2s to `out`."""
    frames, genes, filtered = [], GeneAlignment(), FilteredColumns()
    shared = {kind: _Shared(kind) for kind in ("var", "layers", "obsm")}
    for sample in samples:
        with _open(sample) as file:
            obs, columns = read_elem(file["obs"]), list(file["var"].attrs["column-order"])
            kept = GeneTable.from_file(file)
            genes.add(kept)
            filtered.add(kept, filtered_table(file))
            shared["layers"].add(dict.fromkeys(file.get("layers", ())))
            shared["obsm"].add(_obsm(file))
        shared["var"].add(dict.fromkeys(name for name in columns if name != REPEATED))
        shard_obs = []
        for own, vectors in read_embeddings(sample, obs.index):
            append_dense(out, "obsm/X_c2s", vectors.astype(np.float32, copy=False))
            shard_obs.append(own)
        # Cells are in the same order; a column of an earlier run gives way.
        predicted = read_annotations(sample, obs.index)
        own = obs.assign(**pd.concat(shard_obs), **predicted)
        frames.append(add_groups(own, sample.groups, sample.id))
    return frames, genes, filtered, shared


def _copy_matrices(
    samples: Sequence[Sample],
    out: h5py.File,
    genes: GeneAlignment,
    filtered: FilteredColumns,
    shared: Mapping[str, _Shared],
) -> None:
    """Second reading: var, X, layers and obsm of all samples."""
    if len(samples) == 1:
        with _open(samples[0]) as file:
            write_element(out, "var", read_elem(file["var"]))
            _copy_single(file, out)
        return
    n_vars = len(genes.names)
    layers, obsm = ([f"{kind}/{key}" for key in shared[kind].common] for kind in ("layers", "obsm"))
    writers = {key: RowWriter(out, key, n_vars) for key in ["X", *layers]}
    fold = VarFold(shared["var"].common, n_vars)
    bar = progress_bar(len(samples), "sample")
    for sample in samples:
        with _open(sample) as file:
            kept = GeneTable.from_file(file)
            columns = genes.columns(kept)
            of_filtered = filtered.columns(kept, filtered_table(file), genes)
            fold.add(file["var"], columns)
            n_values = _copy_rows(file, writers, columns, of_filtered, n_vars)
            if n_values:
                LOGGER.info(
                    "%s: %d values of genes below --min_cells there, which another sample keeps",
                    sample.name, n_values,
                )  # fmt: skip
            _copy_dense(file, out, obsm)
        bar.update()
    bar.close()
    var = fold.frame(genes)
    shared["var"].common = dict.fromkeys(var)
    write_element(out, "var", var)
