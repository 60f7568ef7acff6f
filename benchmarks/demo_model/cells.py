"""The demo cells: values as the pipeline sees them, counts to augment from, and the split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scanpy as sc
from scipy import sparse
from sklearn.model_selection import StratifiedKFold, train_test_split

from c2sflow.sentences import cell_sentences, gene_hashes, gene_words

LABEL = "bulk_labels"
SPLIT_SEED = 0


@dataclass(frozen=True)
class Cells:
    """700 cells × 765 genes of `scanpy.datasets.pbmc68k_reduced().raw`.

    Attributes
    ----------
    ids, labels
        str (n_obs,): cell barcodes and cell types (`bulk_labels`).
    values
        CSR float32: log10(1 + normalised count), as QC hands it to SENTENCES.
    counts
        int64 (n_obs, n_vars): the molecule counts recovered from the values.
    words, hashes
        (n_vars,): each gene's word in a sentence, and the hash that orders ties.
    """

    ids: np.ndarray
    labels: np.ndarray
    values: sparse.csr_matrix
    counts: np.ndarray
    words: np.ndarray
    hashes: np.ndarray

    @property
    def types(self) -> list[str]:
        """Cell types in alphabetical order."""
        return sorted(set(self.labels))

    def sentences(self, seed: int) -> list[str]:
        """Every cell's whole sentence, exactly as the pipeline makes it with this seed."""
        pairs = cell_sentences(self.values, self.ids, self.words, seed=seed)
        return [sentence for sentence, _ in pairs]


def demo_cells() -> Cells:
    """Load the cells (they come with scanpy) and recover their counts."""
    demo = sc.datasets.pbmc68k_reduced()
    values = sparse.csr_matrix(demo.raw.X, dtype=np.float32)
    linear = np.expm1(values.toarray())
    # The smallest value of a cell is one molecule: its ratios are whole numbers within 0.4 %.
    unit = np.where(linear > 0, linear, np.inf).min(axis=1, keepdims=True)
    words = gene_words(demo.raw.var_names)
    return Cells(
        ids=demo.obs_names.to_numpy(dtype=object),
        labels=demo.obs[LABEL].astype(str).to_numpy(dtype=object),
        values=values / np.float32(np.log(10)),
        counts=np.rint(linear / unit).astype(np.int64),
        words=words,
        hashes=gene_hashes(words),
    )


def split(labels: np.ndarray, fold: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training and of the held-out cells: 80/20, stratified by label.

    With `fold` (0–4) the training cells alone are split into five: for choosing a recipe
    without looking at the held-out cells.
    """
    train, heldout = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=SPLIT_SEED
    )
    if fold is not None:
        folds = StratifiedKFold(5, shuffle=True, random_state=SPLIT_SEED)
        inner, outer = list(folds.split(train, labels[train]))[fold]
        train, heldout = train[inner], train[outer]
    return np.sort(train), np.sort(heldout)
