"""Layers and obsm of an open file: what can be read, and written under its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy import sparse

from c2sflow.data.columns import clean_columns, clean_names, renamed_notice
from c2sflow.data.stored import StoredGroup

NUMBERS = "biuf"  # kinds of numpy dtypes
SPARSE = ("csr_matrix", "csc_matrix")


def layers_of(group: Mapping | StoredGroup) -> tuple[dict[str, Any], list[str]]:
    """Layers that hold numbers, by names that can be written; and notices of the others.

    Parameters
    ----------
    group
        ``layers`` of an open h5ad or zarr, or of an AnnData. Nothing of a file is read.
    """
    items, notices = _named(group, "layers")
    kept = {}
    for name, item in items.items():
        dtype = _dtype(item)
        if dtype is None or dtype.kind not in NUMBERS:
            notices.append(f"layers: {name!r} holds no numbers: left out")
            continue
        kept[name] = item
    return kept, notices


def obsm_of(group: Mapping | StoredGroup, obs_names: pd.Index) -> tuple[dict[str, Any], list[str]]:
    """What has a row per cell, by names that can be written; and notices of what is left out.

    Dense numeric arrays of a file stay on disk, to be sliced; the rest is read: sparse matrices,
    tables (their columns as `clean_columns` makes them), arrays of text and structured arrays.
    """
    items, notices = _named(group, "obsm")
    kept = {}
    for name, item in items.items():
        value, reason = _obsm_value(item, len(obs_names))
        if value is None:
            notices.append(f"obsm: {name!r} is left out: {reason}")
            continue
        if isinstance(value, pd.DataFrame):
            value, lines = clean_columns(value, f"obsm[{name!r}]")
            value.index = obs_names  # which may have been made unique
            notices += lines
        kept[name] = value
    return kept, notices


def _named(group: Mapping | StoredGroup, where: str) -> tuple[dict[str, Any], list[str]]:
    items = [(key, item) for key, item in items_of(group) if key is not None]
    keys = [key for key, _ in items]
    names = clean_names(keys)
    named = dict(zip(names, (item for _, item in items), strict=True))
    return named, renamed_notice(where, keys, names)


def items_of(group: Mapping | StoredGroup, prefix: str = "") -> Iterator[tuple[str | None, Any]]:
    """Keys and elements; "a/b", which files keep as a folder "a", under its whole key."""
    for key in group:
        item = group[key]
        if _is_folder(item):
            yield from items_of(item, f"{prefix}{key}/")
        else:
            yield key if key is None else f"{prefix}{key}", item


def _is_group(item: object) -> TypeGuard[StoredGroup]:
    return hasattr(item, "keys") and hasattr(item, "attrs") and not isinstance(item, pd.DataFrame)


def _is_folder(item: object) -> bool:
    return _is_group(item) and "encoding-type" not in item.attrs


def _dtype(item: object) -> np.dtype | None:
    """Of a matrix on disk or in memory; None for what is no matrix."""
    if _is_group(item):
        return item["data"].dtype if item.attrs["encoding-type"] in SPARSE else None
    return getattr(item, "dtype", None)


def _obsm_value(item: Any, n_obs: int) -> tuple[Any, str]:
    """What can be kept of an element of obsm, or None and why not."""
    on_disk = hasattr(item, "attrs") and "encoding-type" in item.attrs
    if on_disk and not (item.attrs["encoding-type"] == "array" and item.dtype.kind in NUMBERS):
        try:
            item = read_elem(item)
        except Exception as error:  # of an encoding that anndata or a package it lacks would read
            return None, f"it cannot be read ({' '.join(str(error).split())[:120]})"
    shape = getattr(item, "shape", ())
    if not shape or shape[0] != n_obs:
        return None, "it does not have one row per cell"
    if len(shape) > 1 and 0 in shape[1:]:
        return None, "it has no columns"
    if isinstance(item, pd.DataFrame) or sparse.issparse(item) or (on_disk and _is_numeric(item)):
        return item, ""
    if isinstance(item, np.ndarray) and (
        item.dtype.kind in NUMBERS + "cUV" or all(isinstance(v, str) for v in item.flat)
    ):
        return item, ""
    return None, f"no file can hold it ({type(item).__name__})"


def _is_numeric(item: object) -> bool:
    return getattr(item, "dtype", np.dtype(object)).kind in NUMBERS
