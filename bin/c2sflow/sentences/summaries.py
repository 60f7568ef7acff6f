"""The samples' <id>.sentences.json, read one at a time: they name every gene of every sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from c2sflow.common.files import read_json


class SentenceFiles(Mapping):
    """Content of <id>.sentences.json by id, read when it is asked for and not kept.

    Parameters
    ----------
    folder
        Where they are.
    ids
        Of the samples, in their order.
    """

    def __init__(self, folder: Path, ids: Sequence[str]):
        self._folder, self._ids = folder, list(ids)

    @classmethod
    def find(cls, folder: Path) -> SentenceFiles:
        """All in a folder, by name."""
        end = ".sentences.json"
        return cls(folder, sorted(path.name.removesuffix(end) for path in folder.glob(f"*{end}")))

    def __getitem__(self, name: str) -> dict:
        return read_json(self._folder / f"{name}.sentences.json")

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)
