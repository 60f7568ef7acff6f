"""Generated cells in memory: which, for a table of cell sentences, and what MERGE would write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from c2sflow.api.sentence_table import check_table
from c2sflow.common.errors import UserError
from c2sflow.generation.plan import GenerationPlan, generation_faults
from c2sflow.generation.tasks import write_answers
from c2sflow.inputs.lists import read_cell_types
from c2sflow.results.generated import merge_generated


def plan_for_table(
    table: pd.DataFrame,
    n_cells: int,
    cell_types: Iterable[str] | None,
    temperature: float,
    embedding_prompt: str,
    cells_per_answer: int | None = None,
    tissues: Iterable[str] | None = None,
) -> GenerationPlan:
    """Which cells are generated, in one task.

    Parameters
    ----------
    table
        From `c2sflow.api.sentence_table.sentence_table`.
    n_cells
        Of each organism in the table and each type.
    cell_types, tissues
        None for cells of no type, or tissue, in particular.
    cells_per_answer
        Cells of a prompt; None for one.

    Raises
    ------
    UserError
        If there is nothing to generate, cells of a type could not differ, or the table has lost
        its genes.
    """
    kind, named = ("cell_type", cell_types) if tissues is None else ("tissue", tissues)
    together = 1 if cells_per_answer is None else cells_per_answer
    faults = list(generation_faults(n_cells, temperature, embedding_prompt, together, kind))
    if cells_per_answer is not None and together < 2:
        faults.append(f"cells_per_answer {together}: must be 2 or more")
    if tissues is not None and together < 2:
        faults.append(
            "tissues: models generate cells of a tissue several at once; give "
            "cells_per_answer, such as 5"
        )
    if tissues is not None and cell_types is not None:
        faults.append("tissues and cell_types exclude one another; leave one of them out")
    if n_cells < 1:
        faults.append(f"n_cells {n_cells}: must be 1 or more")
    if faults:
        raise UserError("; ".join(faults))
    check_table(table)
    types = [""]
    if named is not None:  # a label a line: one that holds a comma is one
        lines = "".join(f"{label}\n" for label in named)
        types = read_cell_types(lines, least=1, option=f"{kind}s")
    organisms = sorted(set(table["organism"]))
    size = (n_cells + together) * len(organisms) * len(types)
    return GenerationPlan(n_cells, organisms, types, size, together, kind)


def generated_anndata(
    cells: pd.DataFrame,
    vectors: np.ndarray,
    genes: Mapping[str, str],
    rank_fit: Mapping[str, float],
    uns: Mapping,
) -> ad.AnnData:
    """What c2s_generated.h5ad holds of these cells.

    Parameters
    ----------
    cells
        From `c2sflow.generation.cells.generate_cells`.
    vectors
        float32 (n_cells, hidden_size): embeddings, for ``obsm["X_c2s"]``.
    genes
        Word in a sentence to symbol, of all genes: the columns.
    rank_fit, uns
        See `c2sflow.results.generated.merge_generated`.
    """
    columns = {word: place for place, word in enumerate(genes)}
    organisms = dict.fromkeys(cells["organism"].unique(), columns)
    var = pd.DataFrame(index=pd.Index(list(genes.values())))
    with tempfile.TemporaryDirectory(prefix="c2sflow-") as folder:
        answers, target = Path(folder) / "cells.parquet", Path(folder) / "c2s_generated.h5ad"
        write_answers(answers, cells, vectors)
        merge_generated([(answers, len(cells))], organisms, var, rank_fit, target, uns)
        return ad.read_h5ad(target)
