"""Real control and perturbed cells: which are trained on, their genes, their labels."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from sklearn.model_selection import train_test_split

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


def perturbench_cells(path: Path) -> ad.AnnData:
    """Cells of four lines whose genes were activated (K562) or hindered (gliomas) by CRISPR.

    Returns
    -------
    The file's log-normalised cells × 500 genes; obs: cell_type (the line), perturbation, which says
    which of both was done: some genes are in both screens.
    """
    cells = sc.read_h5ad(path)
    how = cells.obs["perturbation_type"].map({"CRISPRa": "activation", "CRISPRi": "interference"})
    names = cells.obs["perturbation"].astype(str)
    named = names.where(names == "control", how.astype(str) + " of " + names)
    cells.obs = pd.DataFrame(
        {"perturbation": named, "cell_type": cells.obs["cell_type"].astype(str)}
    ).assign(organism="human")
    return ad.AnnData(cells.X.tocsr(), obs=cells.obs, var=pd.DataFrame(index=cells.var_names))
