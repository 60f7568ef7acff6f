"""One AnnData file from the samples' QC files and the shards' embeddings.

The samples are read twice, one file open at a time: first obs, and what the samples share, then
the arrays, in blocks of rows. Memory holds obs, the genes of all samples together and one block,
never a matrix. Every embedding finds its cell by id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from anndata.utils import make_index_unique

from c2sflow.common.files import folder_beside, write_beside
from c2sflow.data.genes.alignment import GeneAlignment
from c2sflow.data.genes.other_features import merge_features
from c2sflow.data.h5ad import RowWriter, append_dense, create_h5ad, scale_values, write_element
from c2sflow.data.state.normalization import LOG_BASE, LOG_BASES, LogBase, log_ratio
from c2sflow.results.copying import copy_samples, copy_vectors, with_bar
from c2sflow.results.shards import Sample
from c2sflow.results.survey import VECTORS, Survey, open_sample, survey
from c2sflow.results.umap import add_umap
from c2sflow.results.var_fold import VarFold

if TYPE_CHECKING:
    import zarr

LOGGER = logging.getLogger(__name__)


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
    """Write c2s.h5ad or c2s.zarr: every cell of every sample, in order, with ``obsm["X_c2s"]``.

    Parameters
    ----------
    samples
        In the order of the samplesheet.
    target
        Written whole or not at all: a folder if it ends in .zarr, of which processes write parts on
        all cores, else a file, written by one.
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
    found = survey(samples)
    with _created(Path(target)) as out:
        features = _copy_matrices(samples, out, found)
        if base != LOG_BASE:
            scale_values(out["X/data"], log_ratio(base))
        names, notices = unique_names(
            [frame.index for frame in found.frames], [s.name for s in samples]
        )
        obs = found.obs().set_axis(names)
        write_element(out, "obs", obs)
        write_element(
            out, "uns", {"log1p": {"base": LOG_BASES[base]}, "c2s": dict(uns), **features}
        )
        if store_umap:
            add_umap(out, seed=uns.get("seed", 42))
    notices += [line for shared in found.shared.values() for line in shared.notices()]
    notices += found.genes.notices()
    for line in notices:
        LOGGER.warning(line)
    return Merged(obs, found.genes, notices)


@contextmanager
def _created(target: Path) -> Iterator[h5py.Group | zarr.Group]:
    """An AnnData to be filled, in the format of the path's ending; whole or not at all."""
    nothing = pd.DataFrame()
    if target.suffix == ".zarr":
        from c2sflow.data.zarr_store import create_zarr

        with folder_beside(target) as partly, create_zarr(partly, nothing, nothing) as group:
            yield group
        return
    with write_beside(target) as partly, create_h5ad(partly, nothing, nothing) as file:
        yield file


def _copy_matrices(samples: Sequence[Sample], out: h5py.Group | zarr.Group, found: Survey) -> dict:
    """var, X, layers and obsm of all samples; what uns gets of the features that are no genes."""
    paths = [sample.path for sample in samples]
    if not isinstance(out, h5py.File):
        from c2sflow.results import zarr_matrices

        features = zarr_matrices.write_features(paths, out)
        zarr_matrices.write_matrices(samples, out, found)
        return features
    features = merge_features(paths, out)
    vectors = partial(append_dense, out, VECTORS)
    if len(samples) == 1:
        copy_vectors(samples[0], vectors)
        with open_sample(samples[0]) as file:
            write_element(out, "var", read_elem(file["var"]))
            _copy_single(file, out)
        return features
    n_vars = len(found.genes.names)
    matrices = {key: RowWriter(out, key, n_vars).append for key in found.matrices}
    arrays = {key: partial(append_dense, out, key) for key in found.arrays}
    fold = VarFold(found.shared["var"].common, n_vars)
    copy_samples(with_bar(samples), found, matrices, {VECTORS: vectors, **arrays}, fold)
    write_element(out, "var", found.var(fold))
    return features


def _copy_single(file: h5py.File, out: h5py.File) -> None:
    """X, layers and obsm of the only sample as they are, compressed.

    An X_c2s of an earlier run gives way to the one that `out` has already.
    """
    keys = [f"{group}/{key}" for group in ("layers", "obsm") for key in file.get(group, ())]
    for key in ["X", *keys]:
        if key not in out:
            file.copy(key, out, name=key)
