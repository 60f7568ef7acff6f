#!/usr/bin/env python3
"""Draw docs/images/umap.png: the demo's held-out cells by X_c2s, as the README's example does.

make demo; python docs/images/draw_umap.py results/demo/c2s.h5ad
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc


def draw(result: str, picture: Path) -> None:
    """UMAP of ``X_c2s`` coloured by label and by the predicted cell type."""
    adata = sc.read_h5ad(result)
    adata = adata[adata.obs["split"] == "test"].copy()  # the bundled model saw the others
    sc.pp.neighbors(adata, use_rep="X_c2s")
    sc.tl.umap(adata)
    # The same colours on both sides.
    types = [adata.obs[name].astype("category") for name in ("bulk_labels", "c2s_cell_type")]
    order = sorted(set().union(*(found.cat.categories for found in types)))
    for found in types:
        adata.obs[found.name] = found.cat.set_categories(order)
    figure = sc.pl.umap(
        adata,
        color=["bulk_labels", "c2s_cell_type"],
        title=["label in the data", "cell type predicted by the model"],
        palette="tab10",
        size=60,
        alpha=0.8,
        frameon=False,
        legend_fontsize=8,
        wspace=0.9,
        return_fig=True,
    )
    figure.set_size_inches(10, 3)
    figure.savefig(picture, dpi=110, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    draw(sys.argv[1], Path(__file__).with_name("umap.png"))
