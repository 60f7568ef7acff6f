"""Predicted cells: shards of answers to one AnnData file and a summary by perturbation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from anndata.utils import make_index_unique

from c2sflow.inputs.perturbations import condition_columns
from c2sflow.results.answers import answer_blocks, answer_figures, merged_answers
from c2sflow.sentences.no_ops import NO_OP, predicted_only

OBS_COLUMNS = (
    "source_cell",
    "condition",
    "perturbation",
    "sample",
    "organism",
    "c2s_n_predicted_genes",
    "c2s_invalid_genes",
    "c2s_duplicate_genes",
    "c2s_finish_reason",
    "c2s_log_likelihood",
    "c2s_truncated",
    "c2s_sentence",
)


def _more_columns(names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in (*OBS_COLUMNS, "sample_index", "X_c2s")]


def _columns(names: Sequence[str]) -> list[str]:
    return [*OBS_COLUMNS, *_more_columns(names)]


def prediction_names(obs: pd.DataFrame) -> pd.Index:
    """Names of predicted cells: "<source cell>|<condition>", numbered where that repeats."""
    cells = zip(obs["source_cell"], obs["condition"], strict=True)
    names = pd.Series([f"{cell}|{condition}" for cell, condition in cells], dtype=object)
    number = names.groupby(names).cumcount()
    again = number[number > 0]
    names[again.index] = names[again.index] + "|" + again.astype(str)
    index = pd.Index(names, name=None)
    return index if index.is_unique else make_index_unique(index, join="|")


@dataclass
class Predicted:
    """Predictions of one shard.

    Attributes
    ----------
    path
        Parquet file of PERTURB.
    n_cells
        Number of predictions that were planned.
    columns
        Column of each gene word of its sample.
    renamed
        Merged name of each cell of the sample whose name differs from its own.
    """

    path: Path
    n_cells: int
    columns: Mapping[str, int]
    renamed: Mapping[str, str] = field(default_factory=dict)


def merge_predictions(
    shards: Iterable[Predicted],
    var: pd.DataFrame,
    rank_fit: Mapping[str, float],
    target: str | Path,
    uns: Mapping,
    n_each: int = 1,
) -> pd.DataFrame:
    """Write c2s_perturbed.h5ad; memory holds obs without the sentences, and one block of cells.

    Parameters
    ----------
    shards
        In the order of the cells; taken one at a time.
    var
        Genes of the merged data set.
    rank_fit
        slope and intercept of `c2sflow.sentences.rank_fit.RankFit.solve`, for X.
    target
        Written whole or not at all.
    uns
        Provenance, stored as ``uns["c2s"]``.
    n_each
        Answers of each prediction.

    Returns
    -------
    obs of the file but the sentences, with a row for each prediction.

    Raises
    ------
    UserError
        If a shard is missing or broken, or predictions are missing.
    """
    with merged_answers(target, var, rank_fit) as out:
        for shard in shards:
            columns, n_answers = shard.columns, shard.n_cells * n_each
            for obs, vectors in answer_blocks(shard.path, n_answers, "predictions", _columns):
                genes = [[columns[word] for word in text.split()] for text in obs["c2s_sentence"]]
                if shard.renamed:
                    cells = obs["source_cell"]
                    obs["source_cell"] = [shard.renamed.get(cell, cell) for cell in cells]
                for name in _more_columns(obs.columns):  # text as given, missing where empty
                    if name != NO_OP:
                        obs[name] = obs[name].astype("string").astype("category")
                out.append(obs, genes, vectors)
        obs = out.obs()
        obs = obs.set_axis(prediction_names(obs))
        obs["source_cell"] = obs["source_cell"].astype(object)
        out.finish(obs, uns)
    return obs


def summarise(obs: pd.DataFrame) -> pd.DataFrame:
    """`answer_figures` of each condition and sample, without the no-ops."""
    obs = predicted_only(obs)
    figures = answer_figures(obs, ["condition", "sample"], "n_predictions")
    conditions = obs[condition_columns(obs.columns)].drop_duplicates("condition")
    return conditions.merge(figures, on="condition", how="right")
