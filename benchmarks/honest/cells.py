#!/usr/bin/env python
"""Prepare the cells of `make benchmark`: kang.h5ad, norman.h5ad and mcfaline.h5ad, with raw counts.

python benchmarks/honest/cells.py ../shared/data results/benchmark/cells

kang: the genes that the demo model knows, so that it is asked about nothing that it has to spell.
norman, mcfaline: the two parts of perturbench's file (activation and interference of genes), which
has seven such genes among 500: the model spells the others.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import click
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.model_selection import train_test_split

SEED = 0
HELD_OUT, VALIDATION = 0.2, 0.05  # of Kang's cells
MOST_CELLS = 50  # of a perturbation in a cell line of perturbench; control cells: all
DEMO_MODEL = Path(__file__).resolve().parents[2] / "assets/demo_model"
# What is read, and where it comes from.
FILES = {
    "kang_harmony_2000x.h5ad": "Kang et al., 2018, GSE96583: 1,000 cells of each condition, of "
    "data/pbmc_stim.RData of github.com/immunogenomics/harmony",
    "perturbench_devel.h5ad": "Norman 2019 and McFaline 2023: the development set of "
    "github.com/altoslabs/perturbench",
}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("outdir", type=click.Path(path_type=Path))
def main(folder: Path, outdir: Path) -> None:
    """Read both files; write the cells of each experiment."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        needed = "; ".join(f"{name} ({FILES[name]})" for name in missing)
        raise SystemExit(
            f"make benchmark: {folder} lacks {needed}: name the folder that has them, "
            "make benchmark DATA=FOLDER"
        )
    kang_file, perturbench_file = (folder / name for name in FILES)
    outdir.mkdir(parents=True, exist_ok=True)
    perturbench = ad.read_h5ad(perturbench_file)
    part = perturbench.obs["dataset"].astype(str).to_numpy()
    made = {
        "kang": kang_cells(ad.read_h5ad(kang_file)),
        "norman": fewer(perturbench_cells(perturbench[part == "norman19"])),
        "mcfaline": fewer(perturbench_cells(perturbench[part == "mcfaline23"])),
    }
    for name, cells in made.items():
        cells.write_h5ad(outdir / f"{name}.h5ad")
        print(f"{name}.h5ad: {cells.n_obs} cells x {cells.n_vars} genes")


def kang_cells(cells: ad.AnnData) -> ad.AnnData:
    """Counts of the genes that the demo model knows.

    Returns
    -------
    obs: perturbation (control, IFN-beta), organism, split (train, validation, test). The file has
    no donors and no cell types, so only cells can be held out.
    """
    perturbation = cells.obs["perturbation"].astype(str)
    split = np.full(cells.n_obs, "train", dtype=object)
    rest, test = train_test_split(
        np.arange(cells.n_obs), test_size=HELD_OUT, stratify=perturbation, random_state=SEED
    )
    _, validation = train_test_split(
        rest,
        test_size=VALIDATION / (1 - HELD_OUT),
        stratify=perturbation.iloc[rest],
        random_state=SEED,
    )
    split[test], split[validation] = "test", "validation"
    known = known_genes(cells.var_names)
    obs = pd.DataFrame({"perturbation": perturbation, "organism": "human", "split": split})
    return ad.AnnData(
        sparse.csr_matrix(cells.X[:, known]),
        obs=obs,
        var=pd.DataFrame(index=cells.var_names[known]),
    )


def known_genes(names: pd.Index) -> np.ndarray:
    """Which genes the demo model has a token for, bool (n_genes,)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    ids = tokenizer([f" {name}" for name in names], add_special_tokens=False)["input_ids"]
    return np.array([len(own) == 1 for own in ids])


def perturbench_cells(cells: ad.AnnData) -> ad.AnnData:
    """The counts that the log-normalised values of the file were made of.

    Returns
    -------
    obs: perturbation (genes, control), cell_type, organism. Without the few cells (1 in 300) whose
    counts the values leave open.
    """
    counts, known = counts_of(cells.X, cells.obs["ncounts"].to_numpy())
    obs = cells.obs[["perturbation", "cell_type"]].astype(str).assign(organism="human")
    return ad.AnnData(counts[known], obs=obs[known], var=pd.DataFrame(index=cells.var_names))


def fewer(cells: ad.AnnData) -> ad.AnnData:
    """At most `MOST_CELLS` of each perturbation in each cell line, and all control cells."""
    keys = [cells.obs["perturbation"], cells.obs["cell_type"]]
    drawn = np.random.default_rng(SEED).permutation(cells.n_obs)
    place = pd.Series(drawn, index=cells.obs_names).groupby(keys, observed=True).rank()
    return cells[((place <= MOST_CELLS) | (cells.obs["perturbation"] == "control")).to_numpy()]


def counts_of(
    values: sparse.csr_matrix, totals: np.ndarray
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Counts from log1p of counts at 10,000 a cell.

    All values of a cell, before the logarithm, are whole multiples of that of one count. One count
    is the smallest value, unless that has two counts or more: then others are no multiples of it,
    or the cell's total (10,000 divided by the value of one count) is half of what it was, or less.

    Parameters
    ----------
    values
        CSR, float64 (n_cells, n_genes).
    totals
        Counts of each cell before genes were left out: at least the total that it was divided by.

    Returns
    -------
    The counts, and of which cells they are known.
    """
    counts = sparse.csr_matrix(values, dtype=np.float64, copy=True)
    counts.data = np.expm1(counts.data)
    starts, lengths = counts.indptr[:-1], np.diff(counts.indptr)
    smallest = np.minimum.reduceat(counts.data, starts)
    counts.data /= np.repeat(smallest, lengths)
    whole = np.maximum.reduceat(np.abs(counts.data - np.round(counts.data)), starts) < 1e-6
    once = totals / (1e4 / smallest) < 2
    counts.data = np.round(counts.data)
    return counts.astype(np.float32), whole & once


if __name__ == "__main__":
    main()
