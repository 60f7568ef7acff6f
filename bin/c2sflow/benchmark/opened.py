"""c2s.h5ad and c2s_perturbed.h5ad, open side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from anndata.io import read_elem

from c2sflow.benchmark.compared import Compared
from c2sflow.benchmark.files import Part
from c2sflow.common.errors import UserError
from c2sflow.common.opened import open_h5, open_result, reading
from c2sflow.data.h5ad import log_base
from c2sflow.data.result_cells import ResultCells


@dataclass
class Results:
    """Both files.

    Attributes
    ----------
    cells, predicted
        Their cells.
    genes
        Names of the genes, the same in both.
    gene_ids
        Ensembl ids of these, if the file has them.
    log_base
        Base of X, the same in both.
    """

    cells: ResultCells
    predicted: ResultCells
    genes: pd.Index
    gene_ids: np.ndarray | None
    log_base: float

    def cells_part(self, compared: Compared, rows: np.ndarray, obs: dict[str, str]) -> Part:
        """Some cells of c2s.h5ad."""
        return Part(self.cells, rows, compared.cell_names[rows].astype(str).tolist(), obs)

    def predicted_part(self, compared: Compared, rows: np.ndarray, obs: dict[str, str]) -> Part:
        """Some predicted cells."""
        return Part(self.predicted, rows, compared.predicted_names[rows].astype(str).tolist(), obs)

    def check(self, tool: str, compared: Compared, counts: bool, measured: bool) -> None:
        """Check that there is what a tool needs.

        Raises
        ------
        UserError
            If not.
        """
        if counts and not (self.cells.has_counts and self.predicted.has_counts):
            raise UserError(
                f"{tool} needs raw counts, which c2s.h5ad has only if every sample came as counts: "
                "give raw counts (--input_state counts, --matrix layers/counts)"
            )
        if measured and not compared.of_both():
            raise UserError(
                f"{tool} compares with measured cells, and no cell that the model was not trained "
                "on was measured under a predicted perturbation: name their column with "
                "--measured_column"
            )


@contextmanager
def open_results(cells: Path, perturbed: Path) -> Iterator[Results]:
    """Open both files.

    Raises
    ------
    UserError
        If one is missing or broken.
    """
    with reading(cells), open_result(cells) as own, open_h5(perturbed) as predicted:
        var = read_elem(own["var"])
        ids = var["gene_ids"].astype(str).to_numpy() if "gene_ids" in var else None
        genes = pd.Index(var.index.astype(str))
        yield Results(ResultCells(own), ResultCells(predicted), genes, ids, log_base(own))
