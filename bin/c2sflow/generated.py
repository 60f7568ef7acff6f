"""Generated cells: the tasks' answers to one AnnData file and a summary by cell type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from anndata.io import write_elem

from c2sflow.cells import RowWriter, append_dense, create_h5ad
from c2sflow.errors import UserError
from c2sflow.predictions import answer_figures, read_answers
from c2sflow.provenance import remedy, write_beside
from c2sflow.reconstruction import expression_from_ranks

OBS_COLUMNS = (
    "c2s_cell_type",
    "organism",
    "number",
    "c2s_n_predicted_genes",
    "c2s_invalid_genes",
    "c2s_duplicate_genes",
    "c2s_finish_reason",
    "c2s_log_likelihood",
    "c2s_sentence",
)


def generated_names(obs: pd.DataFrame) -> pd.Index:
    """Names of generated cells: "<cell type>|<number>", behind the organism if there are several.

    Parameters
    ----------
    obs
        organism, c2s_cell_type ("" for none) and number.
    """
    types = obs["c2s_cell_type"].astype(str)
    names = types.where(types != "", "generated") + "|" + obs["number"].astype(str)
    if obs["organism"].nunique() > 1:
        names = obs["organism"].astype(str) + "|" + names
    return pd.Index(names, name=None)


def merge_generated(
    tasks: Sequence[tuple[Path, int]],
    columns: Mapping[str, Mapping[str, int]],
    var: pd.DataFrame,
    rank_fit: Mapping[str, float],
    target: str | Path,
    uns: Mapping,
) -> pd.DataFrame:
    """Write c2s_generated.h5ad; memory holds obs and the cells of one task.

    Parameters
    ----------
    tasks
        Parquet file of each task, and how many cells it must hold.
    columns
        For each organism the column of each word.
    var
        Genes of the merged data set.
    rank_fit
        slope and intercept of `c2sflow.reconstruction.RankFit.solve`, for X.
    target
        Written whole or not at all.
    uns
        Provenance, stored as ``uns["c2s"]``.

    Returns
    -------
    obs of the file.

    Raises
    ------
    UserError
        If a task's file is missing or broken, or cells are missing.
    """
    frames = []
    with write_beside(target) as partial, create_h5ad(partial, pd.DataFrame(), var) as out:
        matrix = RowWriter(out, "X", len(var))
        for path, n_expected in tasks:
            obs, vectors = read_answers(path, lambda _: OBS_COLUMNS)
            if len(obs) != n_expected:
                raise UserError(
                    f"{path.name} holds {len(obs)} generated cells instead of {n_expected}; "
                    f"{remedy(path)}"
                )
            sentences = [
                [columns[organism][word] for word in text.split()]
                for organism, text in zip(obs["organism"], obs["c2s_sentence"], strict=True)
            ]
            matrix.append(
                expression_from_ranks(sentences, len(var), rank_fit["slope"], rank_fit["intercept"])
            )
            append_dense(out, "obsm/X_c2s", vectors)
            for name in ("c2s_cell_type", "organism", "c2s_finish_reason"):
                obs[name] = obs[name].astype("category")
            frames.append(obs)
        obs = pd.concat(frames, ignore_index=True)
        obs = obs.set_axis(generated_names(obs)).drop(columns="number")
        for name in ("c2s_cell_type", "organism", "c2s_finish_reason"):
            obs[name] = obs[name].astype(str).astype("category")
        untyped = obs["c2s_cell_type"].cat.categories.tolist() == [""]
        write_elem(out, "obs", obs.drop(columns="c2s_cell_type") if untyped else obs)
        write_elem(out, "uns", {"log1p": {"base": 10.0}, "c2s": dict(uns)})
    return obs


def summarise_generated(obs: pd.DataFrame) -> pd.DataFrame:
    """`c2sflow.predictions.answer_figures` of each organism and cell type."""
    return answer_figures(obs, ["organism", "c2s_cell_type"], "n_cells")
