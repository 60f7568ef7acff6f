"""Which cells are generated, by which task, and of which genes. No torch here.

The plan is small arithmetic on a few options, so that no step hands it to another: a million cells
are no table, and each task knows its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.data.genes.alignment import GeneAlignment, word_columns
from c2sflow.data.genes.organisms import PER_CELL
from c2sflow.sentences.prompts import GENERATION_FIELDS, template_fields

TASK_CELLS = 5000  # minutes of a GPU's work, so that loading the model is little of it
NAME = "generated"


@dataclass(frozen=True)
class GenerationPlan:
    """So many cells of each organism and cell type, in this order.

    Attributes
    ----------
    n_each
        Cells of each type and organism.
    organisms
        Those of the data.
    cell_types
        "" for cells of no type in particular.
    task_size
        Most cells of a task.
    """

    n_each: int
    organisms: Sequence[str]
    cell_types: Sequence[str] = ("",)
    task_size: int = TASK_CELLS

    @classmethod
    def from_options(
        cls, generate: int, organisms: str, cell_types: str | None, shard_size: int | str
    ) -> GenerationPlan:
        """The plan of a run's options; organisms and cell types a line each."""
        size = TASK_CELLS if shard_size == "auto" else int(shard_size)
        types = cell_types.splitlines() if cell_types else [""]
        return cls(generate, organisms.splitlines(), types, size)

    @property
    def n_cells(self) -> int:
        """Cells in all."""
        return self.n_each * len(self.organisms) * len(self.cell_types)

    @property
    def n_tasks(self) -> int:
        """Tasks in all."""
        return -(-self.n_cells // self.task_size)

    def cells(self, task: int) -> pd.DataFrame:
        """Cells of one task, counted from 0.

        Returns
        -------
        organism, c2s_cell_type, number (of the cell among those of its type, from 0).
        """
        start = task * self.task_size
        rows = np.arange(start, min(start + self.task_size, self.n_cells))
        group, number = np.divmod(rows, self.n_each)
        organism, cell_type = np.divmod(group, len(self.cell_types))
        return pd.DataFrame(
            {
                "organism": np.array(self.organisms, dtype=object)[organism],
                "c2s_cell_type": np.array(self.cell_types, dtype=object)[cell_type],
                "number": number,
            }
        )

    def task_name(self, task: int) -> str:
        """File-safe name of a task."""
        return f"{NAME}.{task:05d}"


def sampling_faults(temperature: float, top_p: float, num_samples: int) -> Iterator[str]:
    """Whether the answers to one prompt can differ, and `top_p` has an effect."""
    if num_samples != 1 and not temperature:
        yield "--num_samples: greedy answers are all the same; give --temperature above 0"
    if top_p != 1 and not temperature:
        yield "--top_p: only sampled answers use it; give --temperature above 0"


def generation_faults(n_each: int, temperature: float, embedding_prompt: str) -> Iterator[str]:
    """Whether generated cells can differ, and whether their embeddings' prompt can be filled."""
    if n_each > 1 and not temperature:
        yield (
            f"--generate {n_each}: greedy cells of one type are all the same; give "
            "--temperature above 0, or --generate 1"
        )
    known = GENERATION_FIELDS | {"cell_sentence"}
    if unknown := set(template_fields(embedding_prompt)) - known:
        names = ", ".join(f"{{{name}}}" for name in sorted(unknown))
        yield (
            f"--generate: --embedding_prompt uses {names}, which a generated cell does not "
            "have; leave it out, or generate in a run of its own"
        )


def organism_genes(
    samples: Sequence[Mapping], summaries: Mapping[str, Mapping], organism: str
) -> dict[str, str]:
    """Genes that a generated cell of this organism may contain: word to symbol.

    Parameters
    ----------
    samples
        Content of samples.json: id, organism.
    summaries
        By id, content of <id>.sentences.json: genes, symbols.

    Returns
    -------
    The genes of all samples that hold cells of the organism, in order of appearance.
    """
    genes: dict[str, str] = {}
    for summary in _organism_summaries(samples, summaries, organism):
        genes = dict(zip(summary["genes"], summary["symbols"], strict=True)) | genes
    return genes


def organism_columns(
    samples: Sequence[Mapping],
    summaries: Mapping[str, Mapping],
    organism: str,
    genes: GeneAlignment,
) -> dict[str, int]:
    """Column of each word of `organism_genes`: that of the first sample with the word."""
    columns: dict[str, int] = {}
    for summary in _organism_summaries(samples, summaries, organism):
        columns = word_columns(summary, genes) | columns
    return columns


def _organism_summaries(
    samples: Sequence[Mapping], summaries: Mapping[str, Mapping], organism: str
) -> Iterator[Mapping]:
    for sample in samples:
        if sample["organism"] in (organism, PER_CELL):
            yield summaries[sample["id"]]
