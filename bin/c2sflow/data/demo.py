"""The demo data: 700 peripheral blood mononuclear cells of 10x Genomics (Zheng et al., 2017).

They come with scanpy (`pbmc68k_reduced`), log-normalised, so the demo needs no download. The two
halves of the file are lanes 1 to 4 and 5 to 8 of one donor's library: the samples ``lane_1`` and
``lane_2`` are no replicates of each other. The bundled model was trained on four fifths of the
cells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from sklearn.model_selection import train_test_split

from c2sflow.common.files import write_beside

SAMPLES = ("lane_1", "lane_2")
LABEL = "bulk_labels"


def demo_split(labels: pd.Series) -> pd.Series:
    """Split of each of the 700 cells: 560 "train", 140 "test", in equal shares of every label."""
    _, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels.astype(str), random_state=0
    )
    split = pd.Series("train", labels.index, dtype=object)
    split.iloc[test] = "test"
    return split


def demo_samples() -> dict[str, AnnData]:
    """The demo's samples by name.

    X holds log-normalised values (natural log); obs is as published; ``split`` marks which cells
    the bundled model was trained on (train, test).
    """
    with_raw = sc.datasets.pbmc68k_reduced()
    with_raw.obs["split"] = demo_split(with_raw.obs[LABEL]).astype("category")
    matrix = sparse.csr_matrix(with_raw.raw.X, dtype="float32")
    matrix.sort_indices()
    size = -(-with_raw.n_obs // len(SAMPLES))
    samples = {}
    for number, name in enumerate(SAMPLES):
        rows = slice(number * size, (number + 1) * size)
        obs = with_raw.obs.iloc[rows].rename_axis(None)
        var = pd.DataFrame(index=with_raw.raw.var_names.rename(None))
        samples[name] = AnnData(matrix[rows], obs=obs, var=var)
    return samples


def write_demo(outdir: str | Path) -> Path:
    """Write ``<sample>.h5ad`` and ``samplesheet.csv`` to `outdir`; give the samplesheet."""
    outdir = Path(outdir)
    rows = []
    for name, sample in demo_samples().items():
        with write_beside(outdir / f"{name}.h5ad") as partial:
            sample.write_h5ad(partial, compression="gzip")
        rows.append({"sample": name, "path": f"{name}.h5ad", "organism": "human"})
    sheet = outdir / "samplesheet.csv"
    with write_beside(sheet) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    return sheet
