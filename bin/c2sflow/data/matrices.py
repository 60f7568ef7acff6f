"""Which matrix of a file is read: X, raw.X or a layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.backed import RAW, CellData, X
from c2sflow.data.state.reading import sample_state

AUTO = "auto"
# Layers that hold raw counts by the habit of scanpy, scvi-tools and others.
COUNT_LAYERS: tuple[str, ...] = ("counts", "raw_counts", "counts_raw", "count", "raw", "umi_counts")


def matrix_label(matrix: str) -> str:
    """What users call a matrix: raw.X for ``raw/X``."""
    return "raw.X" if matrix == RAW else matrix


def matrix_path(data: CellData, name: str, where: str) -> str:
    """Path of a matrix by its name.

    Parameters
    ----------
    data
        The open input.
    name
        "X", "raw.X" (or "raw") or a layer ("layers/counts").
    where
        The sample's name and file, for messages.

    Raises
    ------
    UserError
        If the file has no such matrix.
    """
    there = matrices_of(data)
    path = (there | ({"raw": RAW, RAW: RAW} if "raw.X" in there else {})).get(name)
    if path is None:
        found = ", ".join(there) or "none"
        raise UserError(f"{where}: --matrix {name}: no such matrix; the file has: {found}")
    return path


def choose_matrix(
    data: CellData,
    asked: str,
    input_state: str,
    is_gene: Callable[[pd.DataFrame], np.ndarray],
    where: str,
) -> tuple[str, list[str]]:
    """The matrix to read.

    With "auto" that is X, but where X holds no counts and raw.X does, of the same or more genes, or
    a layer of `COUNT_LAYERS` does, it is that. Where X is of no state that can be used, such as
    scaled, and raw.X is, it is raw.X. If the user declares what X is (normalized or lognormalized),
    it is X.

    Parameters
    ----------
    data
        The open input.
    asked
        "auto" or a name as of `matrix_path`.
    input_state
        As the user gives it.
    is_gene
        Makes of var which features are genes, whose values show what the matrix holds.
    where
        The sample's name and file, for messages.

    Returns
    -------
    Path of the matrix, and lines for the log.

    Raises
    ------
    UserError
        If the file has no such matrix, or nothing in X and elsewhere.
    """
    if asked != AUTO:
        return matrix_path(data, asked, where), _filtered_genes(data, asked)
    others = [RAW] if _has_raw(data) else []
    others += [f"layers/{name}" for name in COUNT_LAYERS if name in data.layers]
    if input_state in ("normalized", "lognormalized") and data.has_x:
        return X, []
    held = _state(data, X, is_gene) if data.has_x else None
    if held == "counts":
        return X, _more_genes(data)
    states = {path: _state(data, path, is_gene) for path in others}
    path = next((path for path, state in states.items() if state == "counts"), None)
    if path is None and held is None and states.get(RAW):
        path = RAW
    if path is not None:
        what = f"X holds {in_words(held)}" if data.has_x else "X is empty"
        return path, [f"{what}: using {matrix_label(path)}, which holds {in_words(states[path])}"]
    if not data.has_x:
        raise UserError(
            f"{where}: no X, or an empty one; name another matrix with --matrix: "
            + ", ".join(matrices_of(data))
        )
    return X, _filtered_genes(data, X)


def matrices_of(data: CellData) -> dict[str, str]:
    """Path of each matrix of an open input, by what users call it."""
    there = {X: X} if data.has_x else {}
    there |= {f"layers/{layer}": f"layers/{layer}" for layer in data.layers}
    return there | ({"raw.X": RAW} if data.raw_var is not None else {})


def take_matrix(data: CellData, path: str) -> list[str]:
    """Read X from `path` of `matrix_path`. Lines for the log."""
    if path != RAW:
        data.take(path)
        return []
    layers = data.layers
    data.take(path, _raw_annotation(data))
    if layers and not data.layers:
        return [f"layers {', '.join(layers)} do not match the genes of raw.X: left out"]
    return []


def _has_raw(data: CellData) -> bool:
    """Whether raw.X has at least the genes of X."""
    raw = data.raw_var
    return raw is not None and len(raw) >= data.n_vars


def _raw_annotation(data: CellData) -> pd.DataFrame:
    """var of raw.X, which is there, and the columns of var that it lacks, if var has its genes."""
    raw = data.raw_var
    assert raw is not None
    raw = raw.set_axis(raw.index.astype(str).rename(None), axis=0)
    if raw.index.is_unique and data.var.index.is_unique and raw.index.isin(data.var.index).all():
        raw = raw.join(data.var[[name for name in data.var if name not in raw]])
    return raw


def _state(data: CellData, path: str, is_gene: Callable[[pd.DataFrame], np.ndarray]) -> str | None:
    """State of a matrix, by a sample of its cells; None if it can be of no use."""
    genes = is_gene(_raw_annotation(data) if path == RAW else data.var)
    try:
        return sample_state(data, path, genes).name
    except UserError:
        return None


def in_words(state: str | None) -> str:
    """What a matrix in this state holds."""
    if state is None:
        return "unusable values (scaled?)"
    words = {"counts": "raw counts", "normalized": "normalised values"}
    return (words | {"lognormalized": "log-normalised values"})[state]


def _more_genes(data: CellData) -> list[str]:
    raw = data.raw_var
    if raw is None or len(raw) <= data.n_vars:
        return []
    return [
        f"X holds counts of {data.n_vars} genes, raw.X has {len(raw)}; using X: --matrix raw.X "
        "includes the others"
    ]


def _filtered_genes(data: CellData, name: str) -> list[str]:
    """CELLxGENE marks genes whose values were removed from X."""
    filtered = data.var.get("feature_is_filtered", pd.Series(dtype=bool))
    n_filtered = int(np.sum(filtered.to_numpy() == True))  # noqa: E712 (may be of any type)
    if name != X or not n_filtered:
        return []
    return [f"{n_filtered} genes are empty in X (feature_is_filtered), and in no sentence"]
