"""Generated cells: the tasks' answers to one AnnData file and a summary by cell type."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.own_columns import GENERATED, LIKELIHOODS, generated_column
from c2sflow.data.state.normalization import LOG_BASE, LogBase
from c2sflow.generation.plan import MISSING
from c2sflow.results.answers import answer_blocks, answer_figures, merged_answers, present
from c2sflow.results.group_membership import GROUP, PLACE

OF_GROUPS = ("group", "place")
RENAMED = {"organism": ORGANISM, "group": GROUP, "place": PLACE}
# Cells are of a type or a tissue, alone or in a group.
OBS_COLUMNS = (
    *GENERATED,
    "organism",
    "number",
    *OF_GROUPS,
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
        c2s_organism, c2s_cell_type or c2s_tissue ("" for none) and number.
    """
    return _names(obs, obs["number"])


def _names(obs: pd.DataFrame, numbers: Iterable[object]) -> pd.Index:
    parts = [obs[generated_column(obs.columns)].astype(object).replace("", "generated"), numbers]
    if obs[ORGANISM].nunique() > 1:
        parts.insert(0, obs[ORGANISM])
    return pd.Index(["|".join(map(str, row)) for row in zip(*parts, strict=True)])


def _columns(names: Collection[str]) -> list[str]:
    """Columns of a task's table that obs gets."""
    optional = {*GENERATED, *OF_GROUPS}
    return present([name for name in OBS_COLUMNS if name in names or name not in optional], names)


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
            for obs, vectors in answer_blocks(path, n_expected, "generated cells", _columns):
                there = (obs["c2s_finish_reason"] != MISSING).to_numpy()
                obs, vectors = obs[there].reset_index(drop=True), vectors[there]
                pairs = zip(obs["organism"], obs["c2s_sentence"], strict=True)
                genes = [
                    [columns[organism][word] for word in text.split()] for organism, text in pairs
                ]
                out.append(obs.rename(columns=RENAMED), genes, vectors)
        obs = out.obs()
        kind = generated_column(obs.columns)
        if GROUP in obs:
            groups = _names(obs, [f"group_{number:05d}" for number in obs[GROUP]])
            obs[GROUP] = pd.Categorical(groups, groups.unique())
        obs = obs.set_axis(generated_names(obs)).drop(columns="number")
        untyped = obs[kind].cat.categories.tolist() == [""]
        out.finish(obs.drop(columns=kind) if untyped else obs, uns)
    return obs


def summarise_generated(obs: pd.DataFrame, n_each: int = 0) -> pd.DataFrame:
    """`c2sflow.results.answers.answer_figures` of each organism and cell type, or tissue.

    Of groups also n_groups, and n_missing: cells that were asked for and did not come back.

    Parameters
    ----------
    obs
        Of `merge_generated`.
    n_each
        Cells that were asked for of each.
    """
    obs = obs.rename(columns={ORGANISM: "organism"})
    by = ["organism", generated_column(obs.columns)]
    table = answer_figures(obs, by, "n_cells")
    if GROUP not in obs:
        return table
    n_groups = obs.groupby(by, observed=True, sort=True)[GROUP].nunique().to_numpy()
    table.insert(table.columns.get_loc("n_cells") + 1, "n_groups", n_groups)
    table.insert(table.columns.get_loc("n_groups") + 1, "n_missing", n_each - table["n_cells"])
    return table
