"""The folder for scPerturBench: its layout of a method's result, and the genes that it looks at."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from scipy import sparse

from c2sflow.benchmark.compared import Compared
from c2sflow.benchmark.files import values, write_parts
from c2sflow.benchmark.opened import Results
from c2sflow.benchmark.tested_genes import tested_genes

CONTROL = "control"
README = """# scPerturBench

Its scripts (https://github.com/bm2-lab/scPerturBench) read fixed places and have no options. Link
this folder as a data set of theirs, name it and the method in
`Perturbation_generalization/calPerformance_genetic.py`, and run that:

    ln -s "$PWD" /home/project/Pertb_benchmark/DataSet2/c2sflow
    # there: methods = ['c2sflow']; seeds = [1]; last line: ff_calPerfor('c2sflow')
    python calPerformance_genetic.py

- `hvg5000/c2sflow/savedModels1/result.h5ad`: `X` is the natural logarithm of 1 + expression at
  10,000 a cell; `obs["perturbation"]`, `control` for control cells; `obs["Expcategory"]`:
  `control`, `stimulated` (measured) or `imputed` (predicted).
- `DEG_hvg5000.pkl`: for each perturbation its genes, the most significant first (Wilcoxon's test by
  scanpy).
"""


def write(folder: Path, results: Results, compared: Compared) -> None:
    """Write result.h5ad, DEG_hvg5000.pkl and README.md."""
    conditions = compared.of_both()

    def obs(name: str, category: str) -> dict[str, str]:
        return {"perturbation": name, "Expcategory": category}

    parts = [results.cells_part(compared, compared.control, obs(CONTROL, CONTROL))]
    for name in conditions:
        measured, predicted = compared.measured[name], compared.predicted[name]
        parts.append(results.cells_part(compared, measured, obs(name, "stimulated")))
        parts.append(results.predicted_part(compared, predicted, obs(name, "imputed")))
    target = folder / "hvg5000" / "c2sflow" / "savedModels1" / "result.h5ad"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_parts(target, parts, results.genes, False, results.log_base)

    def read(rows: np.ndarray) -> sparse.csr_matrix:
        return values(results.cells, rows, False, results.log_base)

    tables = tested_genes(
        read(compared.control),
        {name: read(compared.measured[name]) for name in conditions},
        results.genes,
    )
    genes = {
        name: table.set_index("gene")
        .rename(columns={"pval": "pvals", "pval_adj": "pvals_adj", "score": "scores"})
        .assign(foldchanges=lambda own: 2 ** own["logfoldchange"])
        for name, table in tables.items()
    }
    with (folder / "DEG_hvg5000.pkl").open("wb") as file:
        pickle.dump(genes, file)
    (folder / "README.md").write_text(README, encoding="utf-8")
