"""The demo cells: values as the pipeline sees them, and the split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scanpy as sc
from scipy import sparse

from c2sflow.data.demo import LABEL, demo_split
from c2sflow.sentences.ranking import cell_sentences, gene_words


@dataclass(frozen=True)
class Cells:
    """700 cells × 765 genes of `scanpy.datasets.pbmc68k_reduced().raw`.

    Attributes
    ----------
    ids, labels
        str (n_obs,): cell barcodes and cell types (`bulk_labels`).
    heldout
        bool (n_obs,): cells that the model was not trained on.
    values
        CSR float32: log10(1 + normalised count), as QC hands it to SENTENCES.
    words
        str (n_vars,): each gene's word in a sentence.
    """

    ids: np.ndarray
    labels: np.ndarray
    heldout: np.ndarray
    values: sparse.csr_matrix
    words: np.ndarray

    @property
    def types(self) -> list[str]:
        """Cell types in alphabetical order."""
        return sorted(set(self.labels))

    def sentences(self, seed: int) -> list[str]:
        """Every cell's whole sentence, exactly as the pipeline makes it with this seed."""
        pairs = cell_sentences(self.values, self.ids, self.words, seed=seed)
        return [sentence for sentence, _ in pairs]


def demo_cells() -> Cells:
    """Load the cells, which come with scanpy."""
    demo = sc.datasets.pbmc68k_reduced()
    values = sparse.csr_matrix(demo.raw.X, dtype=np.float32)
    return Cells(
        ids=demo.obs_names.to_numpy(dtype=object),
        labels=demo.obs[LABEL].astype(str).to_numpy(dtype=object),
        heldout=(demo_split(demo.obs[LABEL]) == "test").to_numpy(),
        values=values / np.float32(np.log(10)),
        words=gene_words(demo.raw.var_names),
    )
