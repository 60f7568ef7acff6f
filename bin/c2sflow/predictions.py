"""Predicted cells: shards of answers to one AnnData file and a summary by perturbation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from anndata.io import write_elem

from c2sflow.cells import RowWriter, create_h5ad
from c2sflow.errors import UserError
from c2sflow.merging import append_dense
from c2sflow.perturbations import AMOUNTS
from c2sflow.provenance import remedy, write_beside
from c2sflow.reconstruction import expression_from_ranks

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


def read_answers(
    path: str | Path, columns: Callable[[Sequence[str]], Sequence[str]]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Columns and X_c2s, float32 (n_answers, hidden_size), of a table of answers.

    Parameters
    ----------
    columns
        From the names of all columns those that are wanted.

    Raises
    ------
    UserError
        If the file is missing or broken.
    """
    try:
        table = pq.read_table(path)
        vectors = table["X_c2s"].combine_chunks()
        width = table.schema.field("X_c2s").type.list_size
        obs = table.select(columns(table.column_names)).to_pandas()
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{Path(path).name} is missing or broken ({error}); {remedy(path)}"
        ) from None
    return obs, vectors.flatten().to_numpy().reshape(-1, width).astype(np.float32)


def read_predictions(path: str | Path) -> tuple[pd.DataFrame, np.ndarray]:
    """obs and X_c2s of one shard: see `read_answers`.

    obs holds `OBS_COLUMNS` and, after them, the columns of the table of perturbations.
    """
    return read_answers(path, lambda names: [*OBS_COLUMNS, *_more_columns(names)])


def _more_columns(names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in (*OBS_COLUMNS, "sample_index", "X_c2s")]


def condition_columns(names: Iterable[str]) -> list[str]:
    """Those of these columns that say what was done: condition, perturbation, dose, time."""
    return [name for name in ("condition", "perturbation", *AMOUNTS) if name in set(names)]


def prediction_names(obs: pd.DataFrame) -> pd.Index:
    """Names of predicted cells: "<source cell>|<condition>", numbered where that repeats."""
    names = obs["source_cell"].astype(str) + "|" + obs["condition"].astype(str)
    number = names.groupby(names).cumcount()
    return pd.Index(names.where(number == 0, names + "|" + number.astype(str)), name=None)


def merge_predictions(
    shards: Sequence[tuple[Path, Mapping[str, int]]],
    var: pd.DataFrame,
    rank_fit: Mapping[str, float],
    target: str | Path,
    uns: Mapping,
    expected: Sequence[int],
    renamed: Mapping[tuple[str, str], str] | None = None,
) -> pd.DataFrame:
    """Write c2s_perturbed.h5ad.

    Parameters
    ----------
    shards
        Parquet file of each shard, with the column of each gene word of its sample.
    var
        Genes of the merged data set.
    rank_fit
        slope and intercept of `c2sflow.reconstruction.RankFit.solve`, for X.
    target
        Written whole or not at all.
    uns
        Provenance, stored as ``uns["c2s"]``.
    expected
        Number of predictions there must be of each shard.
    renamed
        Merged name of a (sample, cell), where it differs from the cell's own.

    Returns
    -------
    obs of the file, with a row for each prediction.

    Raises
    ------
    UserError
        If a shard is missing or broken, or predictions are missing.
    """
    frames = []
    with write_beside(target) as partial, create_h5ad(partial, pd.DataFrame(), var) as out:
        matrix = RowWriter(out, "X", len(var))
        for (path, columns), n_expected in zip(shards, expected, strict=True):
            obs, vectors = read_predictions(path)
            if len(obs) != n_expected:
                raise UserError(
                    f"{path.name} holds {len(obs)} predictions instead of {n_expected} planned; "
                    f"{remedy(path)}"
                )
            sentences = [[columns[word] for word in text.split()] for text in obs["c2s_sentence"]]
            block = expression_from_ranks(
                sentences, len(var), rank_fit["slope"], rank_fit["intercept"]
            )
            matrix.append(block)
            append_dense(out, "obsm/X_c2s", vectors)
            frames.append(obs)
        obs = pd.concat(frames, ignore_index=True)
        if renamed:
            cells = zip(obs["sample"], obs["source_cell"], strict=True)
            obs["source_cell"] = [renamed.get(cell, cell[1]) for cell in cells]
        obs = obs.set_axis(prediction_names(obs))
        of_the_table = _more_columns(obs.columns)
        for name in ("condition", "perturbation", "sample", "organism", "c2s_finish_reason"):
            obs[name] = obs[name].astype("category")
        for name in of_the_table:  # text as it was given, missing where it was empty
            obs[name] = obs[name].astype("string").astype("category")
        write_elem(out, "obs", obs)
        write_elem(out, "uns", {"log1p": {"base": 10.0}, "c2s": dict(uns)})
    return obs


def summarise(obs: pd.DataFrame) -> pd.DataFrame:
    """`answer_figures` of each condition and sample."""
    figures = answer_figures(obs, ["condition", "sample"], "n_predictions")
    conditions = obs[condition_columns(obs.columns)].drop_duplicates("condition")
    return conditions.merge(figures, on="condition", how="right")


def answer_figures(obs: pd.DataFrame, by: Sequence[str], count: str) -> pd.DataFrame:
    """Figures of each group of answers: how many, and how far to trust them.

    Fractions are of the words said (valid, invalid and repeated genes together) and of the
    answers (truncated).
    """
    said = obs["c2s_n_predicted_genes"] + obs["c2s_invalid_genes"] + obs["c2s_duplicate_genes"]
    groups = obs.assign(said=said, cut=obs["c2s_finish_reason"] == "length").groupby(
        list(by), observed=True, sort=True
    )
    words = groups["said"].sum().clip(lower=1)
    figures = pd.DataFrame(
        {
            count: groups.size(),
            "n_genes_mean": groups["c2s_n_predicted_genes"].mean(),
            "invalid_fraction": groups["c2s_invalid_genes"].sum() / words,
            "duplicate_fraction": groups["c2s_duplicate_genes"].sum() / words,
            "truncated_fraction": groups["cut"].mean(),
            "log_likelihood_mean": groups["c2s_log_likelihood"].mean(),
        }
    )
    return figures.reset_index()
