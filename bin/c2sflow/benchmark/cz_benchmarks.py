"""The folder for cz-benchmarks: a perturbation data set, predictions, and a script.

cz-benchmarks pairs each perturbed cell with one control cell. A prediction starts from a control
cell, so the k-th measured cell is paired with the control cell of the k-th predicted cell, whose
predicted expression it gets.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.benchmark.compared import Compared
from c2sflow.benchmark.files import values
from c2sflow.benchmark.opened import Results
from c2sflow.benchmark.tested_genes import tested_genes
from c2sflow.data.columns import free_name
from c2sflow.data.result_cells import ResultCells

CONTROL = "control"
README = """# cz-benchmarks

    pip install cz-benchmarks==0.15.1
    python run.py

The command line of cz-benchmarks (`czbenchmarks`) only lists its data sets and tasks. `run.py`
scores by its Python interface: the task PerturbationExpressionPrediction, Spearman's correlation of
predicted with measured changes over the genes that change (`--pval`, `--logfoldchange`).

- `dataset.h5ad`: measured cells, as many of each condition as are predicted, and the control cells
  of the predictions; `uns["de_results_wilcoxon"]` tests all measured against all control cells
  (scanpy), `uns["control_cells_map"]` pairs each cell with a control cell.
- `predicted.h5ad`: predicted expression under the names of the measured cells, and the control
  cells as measured.
- `X` of both: natural logarithm of 1 + expression at 10,000 a cell.
"""
SCRIPT = '''"""Score predicted.h5ad by cz-benchmarks: prints a line for each condition."""

import argparse
from pathlib import Path

import anndata as ad
from czbenchmarks.datasets import SingleCellPerturbationDataset
from czbenchmarks.datasets.types import Organism
from czbenchmarks.tasks.single_cell.perturbation_expression_prediction import (
    PerturbationExpressionPredictionTask,
    build_task_input_from_predictions,
)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--pval", type=float, default=1e-4, help="adjusted p-value of genes, at most")
parser.add_argument("--logfoldchange", type=float, default=1.0, help="absolute log2, at least")
options = parser.parse_args()

folder = Path(__file__).resolve().parent
dataset = SingleCellPerturbationDataset(
    folder / "dataset.h5ad", Organism.{organism}, condition_key="condition", control_name="control",
    percent_genes_to_mask=1.0, pval_threshold=options.pval, min_logfoldchange=options.logfoldchange,
)
dataset.load_data()
predicted = ad.read_h5ad(folder / "predicted.h5ad")
task_input = build_task_input_from_predictions(predicted, dataset.adata, "difference")
for result in PerturbationExpressionPredictionTask().run(predicted.X.toarray(), task_input):
    print(result.params["condition"], result.metric_type.value, result.value, sep="\\t")
'''


def write(folder: Path, results: Results, compared: Compared) -> None:
    """Write dataset.h5ad, predicted.h5ad, run.py and README.md."""

    def read(cells: ResultCells, rows: np.ndarray) -> sparse.csr_matrix:
        return values(cells, rows, False, results.log_base)

    conditions = compared.of_both()
    tables = tested_genes(
        read(results.cells, compared.control),
        {name: read(results.cells, compared.measured[name]) for name in conditions},
        results.genes,
    )
    labels: dict[str, str] = {}
    for name in conditions:  # "/" would be a folder in uns
        labels[name] = free_name(name.replace("/", "_"), {*labels.values(), CONTROL})
    used = np.unique(np.concatenate([compared.sources[name] for name in conditions]))
    control_names = [f"control {name}" for name in compared.cell_names[used].astype(str)]
    name_of = pd.Series(control_names, index=used)
    obs = [pd.DataFrame({"condition": CONTROL}, index=control_names)]
    real, predicted = [read(results.cells, used)], [read(results.cells, used)]
    pairs = {}
    for name in conditions:
        n = min(len(compared.measured[name]), len(compared.predicted[name]))
        own = [f"{labels[name]} {place}" for place in range(n)]
        obs.append(pd.DataFrame({"condition": labels[name]}, index=own))
        real.append(read(results.cells, compared.measured[name][:n]))
        predicted.append(read(results.predicted, compared.predicted[name][:n]))
        pairs[labels[name]] = dict(zip(own, name_of[compared.sources[name][:n]], strict=True))
    table = pd.concat(
        [own.assign(condition=labels[name]) for name, own in tables.items()], ignore_index=True
    )
    var = pd.DataFrame(index=results.genes)
    if results.gene_ids is not None:
        var["ensembl_id"] = results.gene_ids
    rows = pd.concat(obs).astype("category")
    uns = {"de_results_wilcoxon": table, "control_cells_map": pairs, "log1p": {"base": np.e}}
    dataset = ad.AnnData(sparse.vstack(real, "csr"), obs=rows, var=var, uns=uns)
    dataset.write_h5ad(folder / "dataset.h5ad", compression="lzf")
    answers = ad.AnnData(sparse.vstack(predicted, "csr"), obs=rows, var=var)
    answers.write_h5ad(folder / "predicted.h5ad", compression="lzf")
    organism = "MOUSE" if compared.organism == "mouse" else "HUMAN"
    (folder / "run.py").write_text(SCRIPT.replace("{organism}", organism), encoding="utf-8")
    (folder / "README.md").write_text(README, encoding="utf-8")
