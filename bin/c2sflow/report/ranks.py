"""What the report takes from `c2sflow.evaluation.sentences`, for its tile and its table."""

from __future__ import annotations

import pandas as pd


def at_depth(table: pd.DataFrame | None) -> dict[str, float]:
    """Figures of all samples from ranks to expression, at the depth of the answers.

    Returns
    -------
    ``depth`` (genes, int), ``named`` and ``all_genes`` (R² over these and over all genes),
    ``all_genes_low`` (lower limit of its interval, NaN without one), ``gene_mean`` (R² over all
    genes of each gene's mean), ``total_measured`` and ``total_model`` (median sums); empty if
    there are no answers.
    """
    if table is None:
        return {}
    own = table[table["subject"] == ""].set_index(["metric", "predictor"])
    wanted = {
        "named": ("r_squared_named", "model"),
        "all_genes": ("r_squared_all_genes", "model"),
        "gene_mean": ("r_squared_all_genes", "gene_mean"),
        "total_measured": ("median_total", "measured"),
        "total_model": ("median_total", "model"),
    }
    if not all(key in own.index for key in wanted.values()):
        return {}
    found = {name: float(own.loc[key, "value"]) for name, key in wanted.items()}
    low = float(own.loc[wanted["all_genes"], "ci_low"])
    return {"depth": int(own.loc[wanted["named"], "depth"]), "all_genes_low": low, **found}
