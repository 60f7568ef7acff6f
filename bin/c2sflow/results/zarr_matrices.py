"""Matrices of all samples in a zarr store, written by as many processes as there are cores.

Each process writes the cells of some samples side by side, in their place of each array. So the
number of values of every sample must be known first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import zarr
from anndata.io import read_elem

from c2sflow.common.progress import progress_bar
from c2sflow.common.threads import in_processes, n_cores
from c2sflow.data.genes.other_features import merge_features
from c2sflow.data.h5ad import row_blocks, write_element
from c2sflow.data.qc.filtered_genes import PLACE
from c2sflow.data.zarr_store import (
    CHUNK,
    Edge,
    PartWriter,
    RowsWriter,
    create_csr,
    create_dense,
    place,
    write_edges,
)
from c2sflow.results.copying import BLOCK, copy_samples, copy_vectors
from c2sflow.results.shards import Sample
from c2sflow.results.survey import VECTORS, Survey, open_sample
from c2sflow.results.var_fold import VarFold

RUNS = 8  # of samples for each process, so that none waits long for the last


@dataclass
class Run:
    """Samples side by side that one process writes.

    Attributes
    ----------
    first_row
        Of the first of its cells.
    first_values
        Of each matrix, the first of its values.
    """

    samples: list[Sample]
    first_row: int
    first_values: dict[str, int]


def write_matrices(samples: Sequence[Sample], out: zarr.Group, survey: Survey) -> None:
    """Write var, X, layers, ``X_c2s`` and what else all samples have in obsm.

    Parameters
    ----------
    out
        Made by `c2sflow.data.zarr_store.create_zarr`, in a folder.
    """
    n_cells = [len(frame) for frame in survey.frames]
    if len(samples) == 1:
        _write_single(samples[0], out, survey)
        return
    n_genes = len(survey.genes.names)
    fold = VarFold(survey.shared["var"].common, n_genes)
    n_values = _count_values(samples, survey, fold)
    write_element(out, "var", survey.var(fold))
    for key, numbers in n_values.items():
        create_csr(out, key, (sum(n_cells), n_genes), int(numbers.sum()))
    _create_arrays(out, survey, sum(n_cells))
    runs = _runs(samples, np.array(n_cells), n_values)
    write = partial(_write_run, place(out), replace(survey, frames=[]))
    bar = progress_bar(len(samples), "sample")
    for run, edges in zip(runs, in_processes(write, runs), strict=True):
        write_edges(out, edges)
        bar.update(len(run.samples))
    bar.close()


def _create_arrays(out: zarr.Group, survey: Survey, n_cells: int) -> None:
    create_dense(out, VECTORS, (n_cells, survey.width), np.float32)
    for key, (shape, dtype) in survey.arrays.items():
        create_dense(out, key, (n_cells, *shape), dtype)


def _count_values(
    samples: Sequence[Sample], survey: Survey, fold: VarFold
) -> dict[str, np.ndarray]:
    """Values of each sample in each matrix, int64; `fold` takes in var of the samples."""
    counts: dict[str, list[int]] = {key: [] for key in survey.matrices}
    for sample in samples:
        with open_sample(sample) as file:
            columns, filtered = survey.columns(file)
            fold.add(file["var"], columns)
            for key, numbers in counts.items():
                numbers.append(int(file[f"{key}/indptr"][-1]) + _n_filtered(file, key, filtered))
    return {key: np.array(numbers, dtype=np.int64) for key, numbers in counts.items()}


def _n_filtered(file: h5py.File, key: str, filtered: np.ndarray) -> int:
    """Values of genes that QC filtered from a sample and another sample keeps."""
    if not (filtered >= 0).any():
        return 0
    indices = file[f"{PLACE}/{key}/indices"]
    parts = (indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK))
    return sum(int((filtered[part] >= 0).sum()) for part in parts)


def _runs(
    samples: Sequence[Sample], n_cells: np.ndarray, n_values: dict[str, np.ndarray]
) -> list[Run]:
    """Runs of samples with about as many values in X each."""
    n_runs = min(len(samples), RUNS * n_cores())
    ends = np.cumsum(n_values["X"] + n_cells)
    cuts = np.unique(np.searchsorted(ends, np.arange(1, n_runs) * ends[-1] / n_runs))
    bounds = [0, *cuts[(cuts > 0) & (cuts < len(samples))], len(samples)]
    return [
        Run(
            list(samples[first:last]),
            int(n_cells[:first].sum()),
            {key: int(numbers[:first].sum()) for key, numbers in n_values.items()},
        )
        for first, last in pairwise(bounds)
    ]


def _write_run(store: Path, survey: Survey, run: Run) -> list[Edge]:
    """Write all but the edges of a run, in a process of its own."""
    group = zarr.open_group(store, mode="r+")
    matrices = {
        key: RowsWriter(group, key, run.first_row, start) for key, start in run.first_values.items()
    }
    arrays = {key: PartWriter(group, key, run.first_row) for key in (VECTORS, *survey.arrays)}
    copy_samples(
        run.samples,
        survey,
        {key: writer.append for key, writer in matrices.items()},
        {key: writer.append for key, writer in arrays.items()},
    )
    writers: list[RowsWriter | PartWriter] = [*matrices.values(), *arrays.values()]
    return [edge for own in writers for edge in own.edges()]


def _write_single(sample: Sample, out: zarr.Group, survey: Survey) -> None:
    """The only sample as it is; an X_c2s of an earlier run gives way."""
    n_cells = len(survey.frames[0])
    _create_arrays(out, survey, n_cells)
    arrays = {key: PartWriter(out, key, 0) for key in (VECTORS, *survey.arrays)}
    edges: list[Edge] = []
    copy_vectors(sample, arrays[VECTORS].append)
    with open_sample(sample) as file:
        write_element(out, "var", read_elem(file["var"]))
        for key in survey.matrices:
            edges += _copy_csr(file, out, key)
        for key in survey.arrays:
            for start in range(0, n_cells, BLOCK):
                arrays[key].append(file[key][start : start + BLOCK])
        for key in file.get("obsm", ()):
            if f"obsm/{key}" not in out:  # a table, a sparse matrix or text
                write_element(out, f"obsm/{key}", read_elem(file[f"obsm/{key}"]))
    write_edges(out, [*edges, *(edge for own in arrays.values() for edge in own.edges())])


def _copy_csr(file: h5py.File, out: zarr.Group, key: str) -> list[Edge]:
    create_csr(out, key, tuple(file[key].attrs["shape"]), int(file[f"{key}/indptr"][-1]))
    matrix = RowsWriter(out, key, 0, 0)
    for block in row_blocks(file[key], BLOCK):
        matrix.append(block)
    return matrix.edges()


def write_features(paths: Sequence[Path], out: zarr.Group) -> dict[str, dict[str, np.ndarray]]:
    """`c2sflow.data.genes.other_features.merge_features` to a zarr store, by way of a file."""
    with (
        tempfile.TemporaryDirectory(dir=place(out).parent) as folder,
        h5py.File(Path(folder) / "features.h5", "w") as file,
    ):
        features = merge_features(paths, file)
        for key in file.get("obsm", ()):
            write_edges(out, _copy_csr(file, out, f"obsm/{key}"))
    return features
