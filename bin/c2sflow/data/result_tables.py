"""Tables of results as TSV, and those of an evaluation as EVALUATE writes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from c2sflow.common.files import write_beside
from c2sflow.common.opened import reading

TSV: dict[str, Any] = {"sep": "\t", "index": False, "float_format": "%.6g"}
# In the order in which they are read.
TABLES = (
    "accuracy", "confusion", "embedding", "perturbation", "held_out", "benchmark", "generation",
    "reconstruction", "text_scores", "trust",
    "labels", "labels_confusion", "calibration", "calibration_curves",
)  # fmt: skip
# A subject may be called NA or 01.
TEXT = (
    "metric", "subject", "space", "predictor", "label", "found", "task", "group", "generated",
    "asked", "curve", "kind",
)  # fmt: skip


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as TSV, whole or not at all."""
    with write_beside(path) as partial:
        table.to_csv(partial, **TSV)


@contextmanager
def appended_table(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write a table part by part, whole or not at all; without a part there is no file."""
    with ExitStack() as stack:
        partial: list[Path] = []

        def append(part: pd.DataFrame) -> None:
            if first := not partial:
                partial.append(stack.enter_context(write_beside(path)))
            part.to_csv(partial[0], mode="a", header=first, **TSV)

        yield append


def read_table(path: Path, text: Collection[str] = ()) -> pd.DataFrame:
    """A table of results, from TSV.

    Parameters
    ----------
    path
        The file.
    text
        Names of columns that hold text, as it stands: a label may be called NA, or 01, and one
        that is missing is empty. In all others an empty field is a missing number.

    Raises
    ------
    UserError
        If it is missing or broken.
    """
    with reading(path):
        return pd.read_csv(path, **_columns(path, text))


def read_parts(path: Path, text: Collection[str], n_rows: int) -> Iterator[pd.DataFrame]:
    """`read_table` by so many rows, for a table that is too long for the memory."""
    with reading(path), pd.read_csv(path, chunksize=n_rows, **_columns(path, text)) as parts:
        yield from parts


def _columns(path: Path, text: Collection[str]) -> dict[str, Any]:
    """What pandas is to make of the columns."""
    header = pd.read_csv(path, sep="\t", nrows=0).columns
    return {
        "sep": "\t",
        "dtype": dict.fromkeys(text, str),
        "keep_default_na": False,
        "na_values": {name: [""] for name in header if name not in text},
    }


def read_evaluation(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of a folder by name, those that are there.

    Raises
    ------
    UserError
        If one is broken.
    """
    paths = {name: folder / f"{name}.tsv" for name in TABLES}
    return {name: _read(path) for name, path in paths.items() if path.exists()}


def _read(path: Path) -> pd.DataFrame:
    table = read_table(path, TEXT)
    whole = {name: "Int64" for name in ("n", "n_reference", "n_cells") if name in table}
    return table.astype(whole)
