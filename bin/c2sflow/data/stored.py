"""What the elements of an open file have in common, whether h5ad, zarr or another: their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol


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
