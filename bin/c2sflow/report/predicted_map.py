"""Control, predicted and measured cells on one map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from c2sflow.common.opened import open_h5
from c2sflow.data.obs.figure_cells import known_labels
from c2sflow.data.own_columns import own_name
from c2sflow.data.stored import read_element
from c2sflow.report.colours import as_groups
from c2sflow.report.map import MIN_CELLS, nearest, read_rows, some_rows, umap_coordinates
from c2sflow.sentences.no_ops import predicted_only, with_no_op

MOST = 2_000  # of each kind
KINDS = ("control", "measured", "predicted")
CONDITION, PERTURBATION = own_name("condition"), own_name("perturbation")
SOURCE, LENGTH = own_name("source_cell"), own_name("n_predicted_genes")


@dataclass
class PredictedMap:
    """Cells of the run and predicted cells, placed together.

    Parameters
    ----------
    coordinates
        float (n_shown, 2).
    colours
        kind (one of `KINDS`; missing: another cell), perturbation (predicted or measured under),
        sample and, if there is one, the label column.
    lengths
        Median genes of the sentences of predicted cells and of cells of the run.
    """

    coordinates: np.ndarray
    colours: pd.DataFrame
    lengths: tuple[float, float]


def read_predicted_map(
    file: h5py.File, perturbed: str | Path, held_out: np.ndarray, measured_column: str | None,
    label_column: str | None,
) -> PredictedMap | None:  # fmt: skip
    """Place at most `MOST` cells of each kind by UMAP of their embeddings; None for too few.

    Parameters
    ----------
    file
        c2s.h5ad, open.
    perturbed
        Path of c2s_perturbed.h5ad.
    held_out
        bool (n_cells,): cells of the run that may be shown.
    measured_column
        Column of obs with the perturbation under which a cell was measured, if any.
    label_column
        Column of obs with labels.
    """
    obs = _read_obs(file["obs"], ["sample", "c2s_n_genes", measured_column, label_column])
    with open_h5(perturbed) as answers:
        needed = with_no_op((CONDITION, PERTURBATION, SOURCE, LENGTH, "sample"), answers["obs"])
        predicted = predicted_only(_read_obs(answers["obs"], [*needed, label_column]))
        rows = some_rows(predicted.index.to_numpy(), MOST)
        vectors = [read_rows(answers["obsm/X_c2s"], rows)]
    predicted = predicted.loc[rows]
    kinds = _kinds(file, obs, predicted, held_out, measured_column)
    own = np.concatenate(list(kinds.values()))
    order = np.argsort(own)
    vectors.append(np.empty((len(own), vectors[0].shape[1]), dtype=np.float32))
    vectors[1][order] = read_rows(file["obsm/X_c2s"], own[order])
    together = np.concatenate(vectors)
    whole = np.isfinite(together).all(axis=1)
    if whole.sum() < MIN_CELLS or not len(rows) or not np.ptp(together[whole], axis=0).any():
        return None
    kind: list[str | None] = ["predicted"] * len(rows)
    for name, members in kinds.items():
        kind += [name if name in KINDS else None] * len(members)
    shown = obs.iloc[own]
    under = pd.Series(None, index=shown.index, dtype=object)
    if measured_column in shown:
        under = shown[measured_column].astype(object)
        under = under.where(np.repeat(list(kinds), [len(m) for m in kinds.values()]) == "measured")
    colours = {
        "kind": pd.Series(pd.Categorical(kind, KINDS)),
        "perturbation": as_groups(_joined(predicted[CONDITION], under)),
    }
    for column in filter(None, ("sample", label_column)):
        if column in shown and column in predicted:
            colours[column] = as_groups(_joined(predicted[column], shown[column]))
    table = pd.DataFrame(colours)[whole].reset_index(drop=True)
    lengths = float(predicted[LENGTH].median()), float(obs["c2s_n_genes"].median())
    return PredictedMap(
        umap_coordinates(together[whole], *nearest(together[whole])), table, lengths
    )


def _joined(one: pd.Series, other: pd.Series) -> pd.Series:
    return pd.concat([one.astype(object), other.astype(object)], ignore_index=True)


def _read_obs(obs: h5py.Group, names: Sequence[str | None]) -> pd.DataFrame:
    found = {name: pd.Series(read_elem(obs[name])) for name in names if name and name in obs}
    return pd.DataFrame(found)


def _kinds(
    file: h5py.File, obs: pd.DataFrame, predicted: pd.DataFrame, held_out: np.ndarray,
    measured_column: str | None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Rows of the run's cells by kind: control, measured, and others; no cell is of two."""
    index = pd.Index(np.asarray(read_element(file["obs"][file["obs"].attrs["_index"]]), dtype=str))
    sources = index.get_indexer(predicted[SOURCE].astype(str).unique())
    left = held_out.copy()
    kinds = {"control": some_rows(np.sort(sources[sources >= 0]), MOST)}
    left[sources[sources >= 0]] = False
    if measured_column in obs:
        names = {*predicted[CONDITION].astype(str), *predicted[PERTURBATION].astype(str)}
        measured = left & pd.Series(known_labels(obs[measured_column])).isin(names).to_numpy()
        kinds["measured"] = some_rows(np.flatnonzero(measured), MOST)
        left &= ~measured
    return kinds | {"other": some_rows(np.flatnonzero(left), MOST)}
