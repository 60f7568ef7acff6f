"""What the elements of an open file have in common, whether h5ad, zarr or another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from anndata.io import read_elem


class Stored(Protocol):
    """An array or a group of a store, with the attributes that anndata writes."""

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Attributes by name, "encoding-type" among them."""


class StoredGroup(Stored, Protocol):
    """A group of a store: elements by name."""

    def __getitem__(self, name: str, /) -> Any:
        """An element of the group, by its path."""

    def __contains__(self, name: str, /) -> bool:
        """Whether there is an element of this name."""

    def get(self, name: str, default: Any = None, /) -> Any:
        """An element, or `default` if there is none."""

    def __iter__(self) -> Iterator[str]:
        """Names of the elements."""


def read_element(item: Any) -> Any:
    """anndata's ``read_elem``; texts of a zarr store are Python's, as those of an h5ad."""
    return _with_python_texts(read_elem(item))


def _with_python_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_python_texts(own) for name, own in value.items()}
    is_text = isinstance(value, np.ndarray) and value.dtype.kind == "T"  # NumPy's own
    return value.astype(object) if is_text else value
