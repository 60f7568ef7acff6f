"""Predicted cells: shards of answers to one AnnData file and a summary by perturbation."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

from c2sflow.common.errors import UserError
from c2sflow.common.files import remedy
from c2sflow.data.columns import clean_columns, free_name
from c2sflow.data.own_columns import LIKELIHOODS, PREFIX, own_name, own_names
from c2sflow.data.result_cells import ResultCells, open_cells
from c2sflow.data.state.normalization import LOG_BASE, LogBase
from c2sflow.inputs.perturbations import condition_columns
from c2sflow.results.answers import (
    BLOCK,
    MergedAnswers,
    answer_blocks,
    answer_figures,
    merged_answers,
    present,
)
from c2sflow.results.control_rows import control_rows
from c2sflow.results.umap import CLUSTERS
from c2sflow.sentences.no_ops import MEASURED, NO_OP, predicted_only

LOGGER = logging.getLogger(__name__)

# Of a shard; in obs by their own names, before the columns of the table of perturbations.
SHARD_COLUMNS = (
    "source_cell",
    "condition",
    "perturbation",
    "c2s_n_predicted_genes",
    "c2s_invalid_genes",
    "c2s_duplicate_genes",
    "c2s_finish_reason",
    *LIKELIHOODS.values(),  # one of them
    "c2s_truncated",
    "c2s_sentence",
)
SOURCE, CONDITION = own_name("source_cell"), own_name("condition")
PERTURBATION = own_name("perturbation")
CONTROL = "control"  # condition and perturbation of control cells among the predicted ones
# What a predicted cell has from its control cell by another way, or does not share with it.
NOT_COPIED = ("sample", "organism", "sample_index", "X_c2s")
# Of the control cell's own sentence and embedding, which are not the predicted cell's.
OF_ITS_SENTENCE = ("c2s_n_genes", "c2s_n_tokens", "c2s_truncated", CLUSTERS)


def _more_columns(names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in (*SHARD_COLUMNS, *NOT_COPIED)]


def _columns(names: Sequence[str]) -> list[str]:
    return [*present(SHARD_COLUMNS, names), *_more_columns(names)]


def prediction_names(obs: pd.DataFrame) -> pd.Index:
    """Names of predicted cells: "<source cell>|<condition>", numbered where that repeats."""
    cells = zip(obs[SOURCE], obs[CONDITION], strict=True)
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
    cells
        Names of the sample's cells, in order.
    first
        Row of the first of these in c2s.h5ad.
    """

    path: Path
    n_cells: int
    columns: Mapping[str, int]
    cells: pd.Index
    first: int = 0

    def rows(self, names: pd.Series) -> np.ndarray:
        """Row of each of these cells in c2s.h5ad, int64.

        Raises
        ------
        UserError
            If the sample has no such cell.
        """
        found = self.cells.get_indexer(names)
        if (found < 0).any():
            name = names[found < 0].iloc[0]
            raise UserError(f"{self.path.name}: no cell is named {name!r}; {remedy(self.path)}")
        return self.first + found


def merge_predictions(
    shards: Iterable[Predicted],
    cells: pd.DataFrame,
    var: pd.DataFrame,
    rank_fit: Mapping[str, float],
    target: str | Path,
    uns: Mapping,
    n_each: int = 1,
    base: LogBase = LOG_BASE,
    source: Path | None = None,
    controls: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Write c2s_perturbed.h5ad.

    Memory holds ours of obs without the sentences, one of its other columns, and a block of cells.

    Parameters
    ----------
    shards
        In the order of the cells; taken one at a time.
    cells
        obs of c2s.h5ad: each predicted cell gets the columns of its control cell.
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
    base
        Of the logarithm in X.
    source
        c2s.h5ad, in the same base: where it has counts, the predicted cells get
        ``layers["counts"]``, as many as their control cells have.
    controls
        Append the control cells themselves, as they were measured; `source` must be given.

    Returns
    -------
    What is ours of obs, and sample, with a row for each prediction, but no sentences; and which
    columns of the control cells are renamed, a line each.

    Raises
    ------
    UserError
        If a shard is missing or broken, or predictions are missing.
    """
    with open_cells(source) as sources:
        seed = uns.get("seed", 42) if sources is not None and sources.has_counts else None
        with merged_answers(target, var, rank_fit, base, seed) as out:
            labels: set[str] = set()
            used = [np.empty(0, dtype=np.int64)]
            for shard in shards:
                columns, n_answers = shard.columns, shard.n_cells * n_each
                for obs, vectors in answer_blocks(shard.path, n_answers, "predictions", _columns):
                    texts = obs["c2s_sentence"]
                    genes = [[columns[word] for word in text.split()] for text in texts]
                    rows = shard.rows(obs["source_cell"])
                    obs = _own_obs(obs.assign(source_cell=rows), controls)
                    depths = (
                        sources.depths(rows) if sources is not None and seed is not None else ()
                    )
                    out.append(obs, genes, vectors, depths)
                    if controls:
                        used.append(np.unique(rows))
                        labels.update(obs[CONDITION], obs[PERTURBATION])
            if controls and sources is not None:
                label = free_name(CONTROL, labels)
                _append_controls(out, sources, obs, np.unique(np.concatenate(used)), label)
            obs = out.obs()
            rows = obs[SOURCE].to_numpy()
            obs[SOURCE] = cells.index.to_numpy(dtype=object)[rows]
            obs = obs.set_axis(prediction_names(obs))
            names = _source_names(cells, obs)
            out.finish(obs, uns, _source_columns(cells, rows, names))
    notices = [
        f"c2s_perturbed.h5ad: obs[{name!r}] of the control cells is kept as obs[{kept!r}]"
        for name, kept in names.items()
        if name != kept
    ]
    if source is not None and seed is None:
        LOGGER.info(
            "%s has no layers['counts']: not every sample came as raw counts", Path(target).name
        )
    return obs.assign(sample=cells["sample"].array.take(rows)), notices


def _own_obs(obs: pd.DataFrame, controls: bool) -> pd.DataFrame:
    """Columns of answers under their names in obs."""
    for name in _more_columns(obs.columns):  # text as given, missing where empty
        if name != NO_OP:
            obs[name] = obs[name].astype("string").astype("category")
    obs = obs.rename(columns=own_names(obs.columns))
    return obs.assign(**{MEASURED: False}) if controls else obs


def _append_controls(
    out: MergedAnswers, sources: ResultCells, answers: pd.DataFrame, rows: np.ndarray, label: str
) -> None:
    """Append the measured cells of these rows of c2s.h5ad, block by block."""
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        counts = sources.counts(block) if sources.has_counts else None
        obs = control_rows(answers, block, label)
        out.append_cells(obs, sources.expression(block), sources.vectors(block), counts)


def _source_names(cells: pd.DataFrame, obs: pd.DataFrame) -> dict[str, str]:
    """Columns that come along from the control cells, and their names beside ours."""
    names: dict[str, str] = {}
    for name in (name for name in cells if name not in OF_ITS_SENTENCE):
        taken = {*obs, *cells, *names.values()}
        names[name] = free_name(f"input_{name}", taken) if name in obs else name
    return names


def _source_columns(
    cells: pd.DataFrame, rows: np.ndarray, names: Mapping[str, str]
) -> Iterator[tuple[str, pd.Series]]:
    """Each of these columns, a row for each predicted cell."""
    for name, kept in names.items():
        clean, _ = clean_columns(cells[[name]], "obs")
        if name not in clean:  # nor does c2s.h5ad have it: no file can hold it
            continue
        values = clean[name].take(rows)
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.cat.remove_unused_categories()
        yield kept, values


def summarise(obs: pd.DataFrame) -> pd.DataFrame:
    """`answer_figures` of each condition and sample, without the no-ops.

    Parameters
    ----------
    obs
        From `merge_predictions`.
    """
    names = condition_columns([name.removeprefix(PREFIX) for name in obs])
    obs = predicted_only(obs).rename(columns={own_name(name): name for name in names})
    figures = answer_figures(obs, ["condition", "sample"], "n_predictions")
    conditions = obs[names].drop_duplicates("condition")
    return conditions.merge(figures, on="condition", how="right")
