"""The files that a run names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Staged:
    """Files that the run names, where this step sees them; None for files that do not exist.

    `vocabularies`: those that the file of labels names, by their paths in it.
    """

    rows: Sequence[str | None]
    sheet: Path | None = None
    model_dir: Path | None = None
    perturbations_file: Path | None = None
    embedding_prompt_file: Path | None = None
    perturbation_prompt_file: Path | None = None
    gene_sets_file: Path | None = None
    gene_vocabulary_file: Path | None = None
    cell_types_file: Path | None = None
    tissues_file: Path | None = None
    annotation_prompt_file: Path | None = None
    generation_prompt_file: Path | None = None
    gene_symbols_file: Path | None = None
    group_prompt_file: Path | None = None
    interpretation_prompt_file: Path | None = None
    splits_file: Path | None = None
    labels_file: Path | None = None
    vocabularies: Mapping[str, Path] = field(default_factory=dict)
    text_encoder_dir: Path | None = None
