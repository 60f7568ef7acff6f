"""Which cells are generated, by which task, and of which genes. No torch here.

Cells of one answer are a group: of one cell, unless --cells_per_answer asks for more at once.

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
from c2sflow.data.own_columns import PREFIX
from c2sflow.sentences.groups.prompts import NUM_CELLS, group_generation_template
from c2sflow.sentences.prompts import GENERATION_FIELDS, generation_template, template_fields

TASK_CELLS = 5000  # minutes of a GPU's work, so that loading the model is little of it
NAME = "generated"
GROUP, PLACE = "group", "place"  # of cells that are of one answer
MISSING = "missing"  # in c2s_finish_reason: a cell that was asked for and is not in the answer


@dataclass(frozen=True)
class GenerationPlan:
    """So many cells of each organism and cell type, or tissue, in this order.

    Attributes
    ----------
    n_each
        Cells of each type and organism.
    organisms
        Those of the data.
    cell_types
        What the prompts name: cell types, or with `kind` "tissue" tissues; "" for nothing.
    task_size
        Most cells of a task, but for one group at least.
    n_together
        Cells of an answer, at most.
    kind
        "cell_type" or "tissue".
    """

    n_each: int
    organisms: Sequence[str]
    cell_types: Sequence[str] = ("",)
    task_size: int = TASK_CELLS
    n_together: int = 1
    kind: str = "cell_type"

    @classmethod
    def from_options(
        cls,
        generate: int,
        organisms: str,
        cell_types: str | None,
        shard_size: int | str,
        cells_per_answer: int | None = None,
        tissues: str | None = None,
    ) -> GenerationPlan:
        """The plan of a run's options; organisms, cell types and tissues a line each."""
        size = TASK_CELLS if shard_size == "auto" else int(shard_size)
        kind = "tissue" if cells_per_answer and tissues else "cell_type"
        names = tissues if kind == "tissue" else cell_types
        types = names.splitlines() if names else [""]
        return cls(generate, organisms.splitlines(), types, size, cells_per_answer or 1, kind)

    @property
    def n_cells(self) -> int:
        """Cells in all."""
        return self.n_each * len(self.organisms) * len(self.cell_types)

    @property
    def n_tasks(self) -> int:
        """Tasks in all."""
        return -(-self._n_groups // self._task_groups)

    @property
    def column(self) -> str:
        """Of obs, with what the prompts name."""
        return f"{PREFIX}{self.kind}"

    @property
    def names(self) -> str:
        """What the prompts name: `kind`, or "" where they name nothing."""
        return self.kind if list(self.cell_types) != [""] else ""

    @property
    def _groups_each(self) -> int:
        """Groups of each type: full ones, and perhaps a rest."""
        return -(-self.n_each // self.n_together)

    @property
    def _n_groups(self) -> int:
        return self._groups_each * len(self.organisms) * len(self.cell_types)

    @property
    def _task_groups(self) -> int:
        return max(1, self.task_size // self.n_together)

    def cells(self, task: int) -> pd.DataFrame:
        """Cells of one task, counted from 0.

        Returns
        -------
        organism, `column`, number (of the cell among those of its type, from 0). With several cells
        an answer also group (its number among those of its type), place (from 1, in its answer) and
        num_cells (of the group): full groups, and for each type perhaps a rest.
        """
        start = task * self._task_groups
        groups = np.arange(start, min(start + self._task_groups, self._n_groups))
        kind, group = np.divmod(groups, self._groups_each)
        sizes = np.minimum(self.n_together, self.n_each - group * self.n_together)
        place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        organism, cell_type = np.divmod(np.repeat(kind, sizes), len(self.cell_types))
        group = np.repeat(group, sizes)
        cells = pd.DataFrame(
            {
                "organism": np.array(self.organisms, dtype=object)[organism],
                self.column: np.array(self.cell_types, dtype=object)[cell_type],
                "number": group * self.n_together + place,
            }
        )
        if self.n_together == 1:
            return cells
        own = {GROUP: group, PLACE: place + 1, NUM_CELLS: np.repeat(sizes, sizes)}
        return cells.assign(**own)

    def task_name(self, task: int) -> str:
        """File-safe name of a task."""
        return f"{NAME}.{task:05d}"


def answer_template(
    prompt: str | None, names: str, several: bool, context: str | None = None
) -> str:
    """The template that asks for generated cells: one, or several at once.

    Parameters
    ----------
    prompt, context
        See `c2sflow.sentences.prompts.generation_template`.
    names
        What it names: see `GenerationPlan.names`.
    """
    if several:
        return group_generation_template(prompt, names, context)
    return generation_template(prompt, bool(names), context)


def sampling_faults(temperature: float, top_p: float, num_samples: int) -> Iterator[str]:
    """Whether the answers to one prompt can differ, and `top_p` has an effect."""
    if num_samples != 1 and not temperature:
        yield "--num_samples: greedy answers are all the same; give --temperature above 0"
    if top_p != 1 and not temperature:
        yield "--top_p: only sampled answers use it; give --temperature above 0"


def generation_faults(
    n_each: int,
    temperature: float,
    embedding_prompt: str,
    n_together: int = 1,
    kind: str = "cell_type",
) -> Iterator[str]:
    """Whether generated cells can differ, and whether their embeddings' prompt can be filled.

    Parameters
    ----------
    n_each, n_together, kind
        See `GenerationPlan`.
    """
    if n_each > n_together and not temperature:
        what = "cells of one type" if n_together == 1 else "answers to one prompt"
        yield (
            f"--generate {n_each}: greedy {what} are all the same; give "
            f"--temperature above 0, or --generate {n_together}"
        )
    known = GENERATION_FIELDS - {"cell_type"} | {"cell_sentence", kind}
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
