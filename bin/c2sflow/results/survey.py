"""First reading of the samples: obs, the genes of all, and what every sample has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from c2sflow.common.opened import reading
from c2sflow.data.concat import concat_obs
from c2sflow.data.genes.alignment import REPEATED, GeneAlignment, GeneTable
from c2sflow.data.genes.other_features import feature_names, obsm_key
from c2sflow.data.named_arrays import NUMBERS
from c2sflow.data.qc.filtered_genes import FilteredColumns, filtered_table
from c2sflow.results.group_membership import add_groups
from c2sflow.results.shards import Sample, checked_shards, read_annotations, width
from c2sflow.results.var_fold import VarFold

VECTORS = "obsm/X_c2s"


@dataclass
class Shared:
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
        """What is left out of the result, a line."""
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


@dataclass
class Survey:
    """What is known of the samples before a matrix is read.

    Attributes
    ----------
    frames
        obs of each sample.
    genes
        Columns of all genes, and those of each sample's.
    filtered
        Columns of the genes that QC filtered from a sample.
    shared
        Of "var", "layers" and "obsm": what every sample has.
    width
        Of ``X_c2s``.
    """

    frames: list[pd.DataFrame] = field(default_factory=list)
    genes: GeneAlignment = field(default_factory=GeneAlignment)
    filtered: FilteredColumns = field(default_factory=FilteredColumns)
    shared: dict[str, Shared] = field(
        default_factory=lambda: {kind: Shared(kind) for kind in ("var", "layers", "obsm")}
    )
    width: int = 0

    @property
    def matrices(self) -> list[str]:
        """Keys of the sparse matrices of the result."""
        return ["X", *(f"layers/{name}" for name in self.shared["layers"].common)]

    @property
    def arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Keys of the dense arrays that every sample has, each with its width and type."""
        common = self.shared["obsm"].common
        return {f"obsm/{name}": own for name, own in common.items() if isinstance(own, tuple)}

    def obs(self) -> pd.DataFrame:
        """Of all cells, under their names in the samples."""
        return concat_obs(self.frames)

    def columns(self, file: h5py.File) -> tuple[np.ndarray, np.ndarray]:
        """Column of each gene of a sample, from QC's file, and of each filtered from it."""
        kept = GeneTable.from_file(file)
        filtered = self.filtered.columns(kept, filtered_table(file), self.genes)
        return self.genes.columns(kept), filtered

    def var(self, fold: VarFold) -> pd.DataFrame:
        """Of all genes; what their samples disagree on is not shared any more."""
        var = fold.frame(self.genes)
        self.shared["var"].common = dict.fromkeys(var)
        return var


def open_sample(sample: Sample) -> h5py.File:
    """QC's file.

    Raises
    ------
    UserError
        If it is missing or broken.
    """
    with reading(sample.path, f"sample {sample.id}: "):
        return h5py.File(sample.path)


def survey(samples: Sequence[Sample]) -> Survey:
    """Read all samples, one file open at a time, and check that their shards are whole.

    Raises
    ------
    UserError
        If the embeddings are not exactly those of the samples' cells.
    """
    found = Survey()
    for sample in samples:
        with open_sample(sample) as file:
            obs, columns = read_elem(file["obs"]), list(file["var"].attrs["column-order"])
            kept = GeneTable.from_file(file)
            found.genes.add(kept)
            found.filtered.add(kept, filtered_table(file))
            found.shared["layers"].add(dict.fromkeys(file.get("layers", ())))
            found.shared["obsm"].add(_obsm(file))
        found.shared["var"].add(dict.fromkeys(name for name in columns if name != REPEATED))
        shard_obs = []
        for own, found.width in checked_shards(sample, obs.index, width):
            shard_obs.append(own)
        # Cells are in the same order; a column of an earlier run gives way.
        predicted = read_annotations(sample, obs.index)
        own = obs.assign(**pd.concat(shard_obs), **predicted)
        found.frames.append(add_groups(own, sample.groups, sample.id))
    return found
