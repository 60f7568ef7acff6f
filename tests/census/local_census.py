"""FOLDER/census, laid out as CELLxGENE's Census, and the same as FOLDER/whole.h5ad: the demo's 700
cells as counts, and 100 of them once more, as the copy that another data set has.

Runs where the package of the Census is, on the files of `c2s demo --outdir FOLDER`:
.venv-census/bin/python local_census.py FOLDER
"""

import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import tiledbsoma
import tiledbsoma.io


def as_counts(lane: ad.AnnData) -> None:
    """Undo the normalisation: a cell's values are multiples of that of one count."""
    lane.X.data = np.expm1(lane.X.data)
    for row in range(lane.n_obs):
        values = lane.X.data[lane.X.indptr[row] : lane.X.indptr[row + 1]]
        values[:] = np.round(values / values.min())


def cells(folder: Path) -> ad.AnnData:
    """The demo's samples with columns of the Census; one is said to be of lung."""
    lanes = []
    for tissue, path in zip(("blood", "lung"), sorted(folder.glob("lane_*.h5ad")), strict=True):
        lane = ad.read_h5ad(path)
        as_counts(lane)
        lane.obs = pd.DataFrame(
            {
                "tissue_general": tissue,
                "disease": np.where(np.arange(lane.n_obs) % 7, "normal", "Crohn's disease"),
                "cell_type": lane.obs["bulk_labels"].astype(str),
                "is_primary_data": True,
                "nnz": np.diff(lane.X.indptr),
            },
            index=lane.obs_names,
        )
        lanes.append(lane)
    copies = lanes[0][:100].copy()
    copies.obs["is_primary_data"] = False
    whole = ad.concat([*lanes, copies])
    whole.obs_names = [f"cell {number}" for number in range(whole.n_obs)]
    words = ["tissue_general", "disease", "cell_type"]
    whole.obs[words] = whole.obs[words].astype("category")
    identifiers = [f"ENSG{number:011}" for number in range(whole.n_vars)]
    whole.var = pd.DataFrame({"feature_name": whole.var_names}, index=identifiers)
    return whole


def write(folder: Path, whole: ad.AnnData) -> None:
    """census_info/summary and census_data/homo_sapiens with ms/RNA/X/raw."""
    with tiledbsoma.Collection.create(str(folder)) as census:
        info = census.add_new_collection("census_info")
        table = {"soma_joinid": [0], "label": ["census_build_date"], "value": ["2025-01-30"]}
        summary = pa.Table.from_pydict(table)
        with info.add_new_dataframe(
            "summary", schema=summary.schema, index_column_names=["soma_joinid"], domain=[(0, 9)]
        ) as rows:
            rows.write(summary)
        data = census.add_new_collection("census_data")
        path = f"{data.uri}/homo_sapiens"
        tiledbsoma.io.from_anndata(
            path, whole, "RNA", X_layer_name="raw", obs_id_name="barcode", var_id_name="feature_id"
        )
        with tiledbsoma.Experiment.open(path) as experiment:
            data.set("homo_sapiens", experiment, use_relative_uri=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    beside = Path(sys.argv[1])
    made = cells(beside)
    made.write_h5ad(beside / "whole.h5ad")
    write(beside / "census", made)
