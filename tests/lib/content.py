#!/usr/bin/env python3
"""Print what .h5ad, .parquet, .tsv and .h5 files hold, in figures of three digits, as a JSON list.

A line of standard input names the files, as a JSON list too; a line of output answers it. What
differs between machines is not printed: digests, and digits that rounding decides.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np


def figure(value: float) -> float | None:
    """Three significant digits; null if it is no number."""
    return float(f"{value:.3g}") if np.isfinite(value) else None


def array(values) -> dict:
    """Shape, type and sum of an array, dense or sparse."""
    found = {"shape": list(values.shape), "dtype": str(values.dtype)}
    if hasattr(values, "nnz"):
        found |= {"format": values.format, "nnz": int(values.nnz)}
    if values.dtype.kind in "fiu":
        found |= {"sum": figure(values.sum(dtype=np.float64)), "max": figure(values.max())}
    return found


def column(values) -> dict:
    """A column of a table: of numbers the range and mean, else how many differ, and the first."""
    if values.dtype.kind in "iufb":
        numbers = values.astype(float)
        return {name: figure(getattr(numbers, name)()) for name in ("min", "mean", "max")}
    texts = values.dropna().astype(str)
    first = texts.iloc[0][:80] if len(texts) else None
    return {"distinct": int(texts.nunique()), "missing": int(values.isna().sum()), "first": first}


def table(frame) -> dict:
    """All columns of a table, in its order."""
    return {"rows": len(frame), "columns": {name: column(frame[name]) for name in frame}}


def anndata(path: Path) -> dict:
    """An AnnData file."""
    import anndata as ad

    adata = ad.read_h5ad(path)
    return {
        "X": None if adata.X is None else array(adata.X),
        "obs": table(adata.obs),
        "var": list(adata.var),
        "layers": {name: array(adata.layers[name]) for name in sorted(adata.layers)},
        "obsm": {name: array(adata.obsm[name]) for name in sorted(adata.obsm)},
        "uns": {
            name: sorted(value) if hasattr(value, "keys") else str(value)
            for name, value in sorted(adata.uns.items())
        },
    }


def hdf5(path: Path) -> dict:
    """The datasets of an HDF5 file, with the names of their groups' attributes."""
    import h5py

    found = {}

    def visit(name, item):
        is_dataset = isinstance(item, h5py.Dataset)
        found[name] = array(item[()]) if is_dataset else {"attributes": sorted(item.attrs)}

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def content(path: Path) -> dict:
    """The content of a file, by its suffix."""
    import pandas as pd

    if path.suffix == ".h5ad":
        return anndata(path)
    if path.suffix == ".h5":
        return hdf5(path)
    return table(
        pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t")
    )


for line in sys.stdin:
    print(json.dumps([content(Path(name)) for name in json.loads(line)]), flush=True)
# On a busy machine Arrow's threads may still be starting: they would abort an ordinary exit.
os._exit(0)
