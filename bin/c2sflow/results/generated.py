"""Generated cells: the tasks' answers to one AnnData file and a summary by cell type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.own_columns import LIKELIHOODS
from c2sflow.data.state.normalization import LOG_BASE, LogBase
from c2sflow.results.answers import answer_blocks, answer_figures, merged_answers, present

OBS_COLUMNS = (
    "c2s_cell_type",
    "organism",
    "number",
    "c2s_n_predicted_genes",
    "c2s_invalid_genes",
    "c2s_duplicate_genes",
    "c2s_finish_reason",
    *LIKELIHOODS.values(),  # one of them
    "c2s_sentence",
)


def generated_names(obs: pd.DataFrame) -> pd.Index:
    """Names of generated cells: "<cell type>|<number>", behind the organism if there are several.

    Parameters
    ----------
    obs
        c2s_organism, c2s_cell_type ("" for none) and number.
    """
    parts = [obs["c2s_cell_type"].astype(object).replace("", "generated"), obs["number"]]
    if obs[ORGANISM].nunique() > 1:
        parts.insert(0, obs[ORGANISM])
    return pd.Index(["|".join(map(str, row)) for row in zip(*parts, strict=True)])


def merge_generated(
    tasks: Sequence[tuple[Path, int]],
    columns: Mapping[str, Mapping[str, int]],
    var: pd.DataFrame,
    rank_fit: Mapping[str, float],
    target: str | Path,
    uns: Mapping,
    base: LogBase = LOG_BASE,
) -> pd.DataFrame:
    """Write c2s_generated.h5ad; memory holds obs without the sentences, and one block of cells.

    Parameters
    ----------
    tasks
        Parquet file of each task, and how many cells it must hold.
    columns
        For each organism the column of each word.
    var
        Genes of the merged data set.
    rank_fit
        slope and intercept of `c2sflow.sentences.rank_fit.RankFit.solve`, for X.
    target
        Written whole or not at all.
    uns
        Provenance, stored as ``uns["c2s"]``.
    base
        Of the logarithm in X.

    Returns
    -------
    obs of the file but the sentences.

    Raises
    ------
    UserError
        If a task's file is missing or broken, or cells are missing.
    """
    with merged_answers(target, var, rank_fit, base) as out:
        for path, n_expected in tasks:
            for obs, vectors in answer_blocks(
                path, n_expected, "generated cells", partial(present, OBS_COLUMNS)
            ):
                pairs = zip(obs["organism"], obs["c2s_sentence"], strict=True)
                genes = [
                    [columns[organism][word] for word in text.split()] for organism, text in pairs
                ]
                out.append(obs.rename(columns={"organism": ORGANISM}), genes, vectors)
        obs = out.obs()
        obs = obs.set_axis(generated_names(obs)).drop(columns="number")
        untyped = obs["c2s_cell_type"].cat.categories.tolist() == [""]
        out.finish(obs.drop(columns="c2s_cell_type") if untyped else obs, uns)
    return obs


def summarise_generated(obs: pd.DataFrame) -> pd.DataFrame:
    """`c2sflow.results.answers.answer_figures` of each organism and cell type."""
    obs = obs.rename(columns={ORGANISM: "organism"})
    return answer_figures(obs, ["organism", "c2s_cell_type"], "n_cells")
