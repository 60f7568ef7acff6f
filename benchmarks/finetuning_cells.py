"""Real cells of the trainings: which are trained on, their genes, their labels."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors

N_GENES = 2000
SPLIT_SEED = 0
# Kang's file has no cell types. Markers of blood cells that interferon hardly moves.
MARKERS = {
    "CD14+ Monocyte": ["CD14", "LYZ", "S100A9", "FTL", "CST3"],
    "CD16+ Monocyte": ["FCGR3A", "MS4A7", "VMO1"],
    "Dendritic": ["FCER1A", "HLA-DQA1", "HLA-DPB1", "CCL22"],
    "B": ["CD79A", "MS4A1", "CD79B", "CD74"],
    "CD4+ T": ["CD3D", "IL7R", "CCR7", "SELL", "LTB"],
    "CD8+ T": ["CD8A", "CD8B", "CCL5", "CD3D", "GZMH"],
    "NK": ["GNLY", "NKG7", "KLRD1", "PRF1"],
    "Megakaryocyte": ["PPBP", "PF4", "GNG11"],
}


def prepare_kang(path: Path, outdir: Path) -> None:
    """``cells.h5ad``; and a sheet of its test cells with the sums of its training cells as bulk."""
    cells = kang_cells(path)
    cells.write_h5ad(outdir / "cells.h5ad")
    cells[cells.obs["split"] == "test"].write_h5ad(outdir / "test_cells.h5ad")
    counts = sc.read_h5ad(path)
    types, conditions = (cells.obs[name].astype(str) for name in ("cell_type", "perturbation"))
    groups = (types + ", " + conditions).to_numpy()
    trained_on = (cells.obs["split"] == "train").to_numpy()
    sums = counts[trained_on].to_df().groupby(groups[trained_on]).sum()
    sums = np.log1p(sums.div(sums.sum(axis=1), axis=0) * 1e4)[cells.var_names]
    sums.to_csv(outdir / "bulk.csv")
    rows = ["sample,path,organism", "cells,test_cells.h5ad,human", "bulk,bulk.csv,human"]
    (outdir / "bulk_and_cells.csv").write_text("\n".join(rows))


def bulk_neighbours(results: Path) -> dict[str, dict[str, float]]:
    """How many bulk samples have most of their 15 nearest cells of their own type, and condition.

    In the embedding (cosine), and in 50 principal components of the cells' expression.
    """
    both = ad.read_h5ad(results / "c2s.h5ad")
    bulk = (both.obs["sample"] == "bulk").to_numpy()
    own = pd.Series([name.rsplit("|")[-1] for name in both.obs_names[bulk]]).str.split(", ")
    expression = both.X.toarray()
    components = PCA(50, random_state=0).fit(expression[~bulk]).transform(expression)
    found = {"n": {"bulk samples": int(bulk.sum()), "cells": int((~bulk).sum())}}
    for space, vectors in (("X_c2s", both.obsm["X_c2s"]), ("expression_pcs", components)):
        near = NearestNeighbors(n_neighbors=15, metric="cosine").fit(vectors[~bulk])
        rows = near.kneighbors(vectors[bulk], return_distance=False)
        found[space] = {}
        for place, column in enumerate(("cell_type", "perturbation")):
            labels = both.obs.loc[~bulk, column].astype(str).to_numpy()[rows]
            said = np.array([pd.Series(row).mode()[0] for row in labels])
            found[space][column] = float((said == own.str[place].to_numpy()).mean())
    return found


def kang_cells(path: Path) -> ad.AnnData:
    """Blood cells with and without interferon beta (Kang et al., 2018).

    Returns
    -------
    Log-normalised cells (natural log, 10,000 a cell over all genes) × the 2,000 genes that vary
    most among the training cells; obs: perturbation, cell_type (by markers), split (train,
    validation, test).
    """
    cells = sc.read_h5ad(path)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    for name, genes in MARKERS.items():
        sc.tl.score_genes(cells, genes, score_name=name, random_state=SPLIT_SEED)
    types = cells.obs[list(MARKERS)].idxmax(axis=1)
    obs = pd.DataFrame({"perturbation": cells.obs["perturbation"].astype(str), "cell_type": types})
    cells.obs = obs.assign(organism="human", split=split(obs))
    trained_on = cells[cells.obs["split"] == "train"]
    varying = sc.pp.highly_variable_genes(trained_on, n_top_genes=N_GENES, inplace=False)
    kept = cells[:, varying["highly_variable"].to_numpy()]
    return ad.AnnData(kept.X.tocsr(), obs=cells.obs, var=pd.DataFrame(index=kept.var_names))


def split(obs: pd.DataFrame) -> np.ndarray:
    """ "train" (75 %), "validation" (5 %) or "test" of each cell, with its share of each type."""
    groups = (obs["perturbation"] + obs["cell_type"]).to_numpy()
    chosen = np.full(len(obs), "train", dtype=object)
    rest, test = train_test_split(
        np.arange(len(obs)), test_size=0.2, stratify=groups, random_state=SPLIT_SEED
    )
    _, validation = train_test_split(rest, test_size=0.0625, random_state=SPLIT_SEED)
    chosen[test], chosen[validation] = "test", "validation"
    return chosen


def prepare_perturbench(path: Path, outdir: Path) -> None:
    """``cells.h5ad``: the K562 cells, whose genes CRISPR activated (Norman et al., 2019).

    The file's other lines had interference: measured cells of one line against predictions from
    control cells of all would show how lines differ. Log-normalised, 500 genes; obs: perturbation.
    """
    cells = sc.read_h5ad(path)
    cells = cells[cells.obs["cell_type"] == "k562"]
    obs = pd.DataFrame({"perturbation": cells.obs["perturbation"].astype(str)})
    made = ad.AnnData(
        cells.X.tocsr(),
        obs=obs.assign(organism="human"),
        var=pd.DataFrame(index=cells.var_names),
    )
    made.write_h5ad(outdir / "cells.h5ad")
