"""The labels that a run asks the model for: cell type, tissue, or any other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from c2sflow.inputs.label_schema import LEVELS

CELL_TYPE = "cell_type"  # what --annotate asks for without a file
CELL, GROUP = LEVELS
# Columns of a label, behind "c2s_" and its name; the last is in the shards alone.
SUFFIXES = ("", "_probability", "_entropy", "_top3", "_status", "_spread", "_scores")


@dataclass(frozen=True)
class Label:
    """One thing that the model is asked about each cell, or each group of cells.

    Attributes
    ----------
    name
        obs["c2s_<name>"] gets the answer.
    prompt
        Template of the prompt; None for the built-in one.
    candidates
        The answers to choose from; empty for free text and, of cell types, for the labels that the
        model was trained on.
    free
        Whether the model answers in its own words.
    level
        "cell" or "group".
    score
        What likelihoods are normalised by, see `c2sflow.generation.label_probabilities`; None for
        the default of this label.
    min_probability
        Below it a label is missing; None for the run's.
    temperature
        Divides the scores.
    measured
        Column of obs with the truth.
    """

    name: str = CELL_TYPE
    prompt: str | None = None
    candidates: tuple[str, ...] = ()
    free: bool = False
    level: str = CELL
    score: str | None = None
    min_probability: float | None = None
    temperature: float = 1.0
    measured: str | None = None

    @property
    def column(self) -> str:
        """Column of obs with the answer."""
        return f"c2s_{self.name}"

    @property
    def columns(self) -> list[str]:
        """All columns that may be made of it."""
        return [self.column + suffix for suffix in SUFFIXES]

    @property
    def words(self) -> str:
        """Its name as a reader would write it."""
        return self.name.replace("_", " ")


def labels_to_text(labels: Iterable[Label]) -> str:
    """Labels as one line of JSON, for an option of a step."""
    return json.dumps([asdict(label) for label in labels], ensure_ascii=False, sort_keys=True)


def labels_from_text(text: str | None) -> list[Label]:
    """What `labels_to_text` wrote; none of an empty text."""
    records = json.loads(text) if text else []
    return [Label(**{**record, "candidates": tuple(record["candidates"])}) for record in records]


def asked_labels(annotate: bool, listed: Sequence[Label]) -> list[Label]:
    """What a run asks for: with --annotate the cell type, and the labels of the file.

    Parameters
    ----------
    listed
        Labels of the file; one of them may be the cell type.
    """
    has_type = any(label.name == CELL_TYPE for label in listed)
    return [*([Label()] if annotate and not has_type else []), *listed]
