"""Second reading of the samples: their matrices, block by block, in the columns of all genes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import h5py
import numpy as np
from scipy import sparse

from c2sflow.common.progress import progress_bar
from c2sflow.data.h5ad import row_blocks
from c2sflow.data.qc.filtered_genes import PLACE, with_filtered
from c2sflow.results.shards import Sample, read_vectors
from c2sflow.results.survey import VECTORS, Survey, open_sample
from c2sflow.results.var_fold import VarFold

LOGGER = logging.getLogger(__name__)
BLOCK = 4096  # rows copied at a time


def with_bar(samples: Sequence[Sample]) -> Iterator[Sample]:
    """The samples, with progress of those that are done."""
    bar = progress_bar(len(samples), "sample")
    for sample in samples:
        yield sample
        bar.update()
    bar.close()


def copy_samples(
    samples: Iterable[Sample],
    survey: Survey,
    matrices: Mapping[str, Callable[[sparse.csr_matrix], None]],
    arrays: Mapping[str, Callable[[np.ndarray], None]],
    fold: VarFold | None = None,
) -> None:
    """Append the cells of these samples to matrices and arrays, by their keys.

    Parameters
    ----------
    survey
        Of all samples of the result.
    fold
        Takes in var of each sample, too.
    """
    for sample in samples:
        copy_vectors(sample, arrays[VECTORS])
        with open_sample(sample) as file:
            columns, filtered = survey.columns(file)
            if fold is not None:
                fold.add(file["var"], columns)
            n_values = _copy_rows(file, matrices, columns, filtered, len(survey.genes.names))
            if n_values:
                LOGGER.info(
                    "%s: %d values of genes below --min_cells there, which another sample keeps",
                    sample.name, n_values,
                )  # fmt: skip
            for key in survey.arrays:
                for start in range(0, file[key].shape[0], BLOCK):
                    arrays[key](file[key][start : start + BLOCK])


def copy_vectors(sample: Sample, append: Callable[[np.ndarray], None]) -> None:
    """The embeddings of the cells of a sample, shard by shard."""
    for vectors in read_vectors(sample):
        append(vectors.astype(np.float32, copy=False))


def _copy_rows(
    source: h5py.File,
    matrices: Mapping[str, Callable[[sparse.csr_matrix], None]],
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
    for key, append in matrices.items():
        blocks = row_blocks(source[key], BLOCK)
        if not (filtered >= 0).any():
            for block in blocks:
                append(_moved(block, columns, n_vars))
            continue
        beside = row_blocks(source[f"{PLACE}/{key}"], BLOCK)
        for block, others in zip(blocks, beside, strict=True):
            kept = _moved(block, columns, n_vars)
            joined = with_filtered(kept, others, filtered)
            n_filtered += (joined.nnz - kept.nnz) * (key == "X")
            append(joined)
    return n_filtered


def _moved(block: sparse.csr_matrix, columns: np.ndarray, n_vars: int) -> sparse.csr_matrix:
    entries = (block.data, columns[block.indices], block.indptr)
    return sparse.csr_matrix(entries, (block.shape[0], n_vars))
