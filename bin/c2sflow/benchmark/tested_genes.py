"""Differentially expressed genes of the measured cells, as benchmarks want to be given them."""

from __future__ import annotations

from collections.abc import Mapping

import anndata as ad
import pandas as pd
import scanpy as sc
from scipy import sparse

LABEL = "label"


def tested_genes(
    control: sparse.csr_matrix, measured: Mapping[str, sparse.csr_matrix], genes: pd.Index
) -> dict[str, pd.DataFrame]:
    """Wilcoxon's test of each condition against the control cells: scanpy's, with its options.

    Parameters
    ----------
    control, measured
        Natural logarithm of 1 + expression.

    Returns
    -------
    condition to a row for each gene, the most significant first: gene, score, logfoldchange (log2),
    pval, pval_adj (Benjamini-Hochberg).
    """
    labels = ["control"] * control.shape[0]
    numbers = {str(place): name for place, name in enumerate(measured)}
    for number, name in numbers.items():
        labels += [number] * measured[name].shape[0]
    cells = ad.AnnData(
        sparse.vstack([control, *measured.values()], "csr"),
        obs=pd.DataFrame({LABEL: pd.Categorical(labels)}, index=list(map(str, range(len(labels))))),
        var=pd.DataFrame(index=genes),
        uns={"log1p": {"base": None}},
    )
    sc.tl.rank_genes_groups(
        cells, LABEL, groups=list(numbers), reference="control", method="wilcoxon"
    )
    columns = {
        "names": "gene", "scores": "score", "logfoldchanges": "logfoldchange", "pvals": "pval",
        "pvals_adj": "pval_adj",
    }  # fmt: skip
    return {
        name: sc.get.rank_genes_groups_df(cells, number)
        .rename(columns=columns)
        .sort_values("pval", kind="stable", ignore_index=True)
        for number, name in numbers.items()
    }
