"""A run's sentences and predictions to its tables of effects: what EFFECTS does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from c2sflow.common.files import write_beside, write_json
from c2sflow.common.statistics import MIN_UNITS
from c2sflow.data.genes.alignment import GeneAlignment, GeneTable, word_columns
from c2sflow.inputs.gene_sets import MIN_GENES, describe_sets, found_genes, read_gene_sets
from c2sflow.perturbation.effects import effects_table
from c2sflow.perturbation.screen import few_units, rank_screen, screen_rows
from c2sflow.perturbation.shifts import Shard, Shifts, read_shifts
from c2sflow.sentences.rank_fit import RankFit
from c2sflow.sentences.summaries import SentenceFiles

LOGGER = logging.getLogger(__name__)
TSV = {"sep": "\t", "index": False, "float_format": "%.6g"}


def write_effects(
    sentences_dir: Path,
    shards_dir: Path,
    perturbed_dir: Path,
    outdir: Path,
    gene_sets_file: Path | None = None,
    context: str | None = None,
    replicate_column: str | None = None,
) -> None:
    """Write ``perturbation/perturbation_effects.tsv``, ``perturbation/screen.tsv`` if there are
    gene sets, and ``effects.json``: notes on them.

    Parameters
    ----------
    sentences_dir, shards_dir, perturbed_dir
        <id>.sentences.json; <shard>.parquet; <shard>.perturbed.parquet.
    gene_sets_file
        GMT, see `c2sflow.inputs.gene_sets.read_gene_sets`.
    context
        Column of obs whose values are compared in the screen.
    replicate_column
        Column of obs with the donor or sample of each cell.

    Raises
    ------
    UserError
        If a file is missing or broken.
    """
    samples = SentenceFiles.find(sentences_dir)
    alignment, sums = GeneAlignment(), RankFit()
    for sample in samples.values():
        alignment.add(GeneTable.from_summary(sample))
        sums += RankFit(*sample["rank_fit_sums"])
    genes, fit = alignment.names, sums.solve()
    measured = np.zeros((len(samples), len(genes)), dtype=bool)
    for row, sample in zip(measured, samples.values(), strict=True):
        row[alignment.columns(GeneTable.from_summary(sample))] = True
    shards = _shards(samples, alignment, shards_dir, perturbed_dir)
    gene_sets: dict[str, list[list[int]]] = {}
    set_notes: list[str] = []
    if gene_sets_file is not None:
        gene_sets, line = _gene_sets(gene_sets_file, samples, alignment)
        set_notes.append(line)
    counts = _Counts(context if gene_sets else None, replicate_column)
    rows: list[dict[str, object]] = []
    with write_beside(outdir / "perturbation" / "perturbation_effects.tsv") as partial:
        all_shifts = read_shifts(shards, len(genes), fit, counts.context, replicate_column)
        for number, shifts in enumerate(all_shifts):
            table = effects_table(shifts, genes, measured)
            table.to_csv(partial, mode="a", header=not number, **TSV)
            counts.add(shifts)
            if gene_sets:
                rows += screen_rows(shifts, gene_sets, replicate_column)
    notes = {"effects": counts.effects_notes(), "screen": [*set_notes, *counts.screen_notes()]}
    if gene_sets_file is not None:
        screen = rank_screen(rows)
        notes["screen"] += few_units(screen)
        with write_beside(outdir / "perturbation" / "screen.tsv") as partial:
            screen.to_csv(partial, **TSV)
    write_json(outdir / "effects.json", notes)
    for note in (*notes["effects"], *notes["screen"]):
        LOGGER.info(note)


@dataclass
class _Counts:
    """What is compared with what, and which predictions are not, for the notes."""

    context: str | None
    replicate: str | None
    n_empty: int = 0
    n_unmatched: int = 0
    n_without: dict[str, int] = field(default_factory=lambda: {"context": 0, "replicate": 0})
    no_ops: dict[str | None, list[str]] = field(default_factory=dict)  # to their conditions
    replicates: set[str] = field(default_factory=set)

    def add(self, shifts: Shifts) -> None:
        self.n_empty += shifts.n_empty
        self.n_unmatched += shifts.n_unmatched
        self.no_ops.setdefault(shifts.compared_with, []).append(shifts.names["condition"])
        for name in self.n_without.keys() & set(shifts.cells):
            self.n_without[name] += int(shifts.cells[name].isna().sum())
        if "replicate" in shifts.cells:
            self.replicates |= set(shifts.cells["replicate"].dropna().astype(str))

    def effects_notes(self) -> list[str]:
        """Lines on the effects by gene."""
        lines = []
        names = [name for name in self.no_ops if name is not None]
        if names:
            lines.append(
                f"effects are differences from the answers to {' and '.join(map(repr, names))} of "
                "the same cells; p-values over cells are exploratory: cells are not replicates"
            )
        if without := self.no_ops.get(None):
            which = _some(without) if names else "no no-op was predicted"
            lines.append(
                f"{which}{' without a no-op' * bool(names)}: the differences are from each cell's "
                "own sentence, and there are no p-values, since an answer differs from one cell "
                "whatever the perturbation"
            )
        if self.n_empty:
            lines.append(
                f"{self.n_empty} predictions could not be compared: a sentence holds no gene"
            )
        if self.n_unmatched:
            lines.append(f"{self.n_unmatched} predictions have no no-op: they are left out")
        if self.replicate and len(self.replicates) < MIN_UNITS:
            lines.append(
                f"{self.replicate}: {len(self.replicates)} in all: with fewer than {MIN_UNITS} "
                "there are no p-values over replicates"
            )
        return lines

    def screen_notes(self) -> list[str]:
        """Lines on the screen."""
        names = {"context": self.context, "replicate": self.replicate}
        meaning = {"context": "they count in no context", "replicate": "they are left out"}
        return [
            f"{n} predictions have no {names[kind]}: {meaning[kind]}"
            for kind, n in self.n_without.items()
            if n
        ]


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _shards(
    samples: SentenceFiles, genes: GeneAlignment, shards_dir: Path, perturbed_dir: Path
) -> Iterator[Shard]:
    """The shards that hold predictions, in the order of the cells."""
    for number, sample in enumerate(samples.values()):
        words = word_columns(sample, genes)
        for name in (shard["name"] for shard in sample["shards"]):
            predictions = perturbed_dir / f"{name}.perturbed.parquet"
            if predictions.exists():
                yield Shard(shards_dir / f"{name}.parquet", predictions, number, words)


def _gene_sets(
    path: Path, samples: SentenceFiles, genes: GeneAlignment
) -> tuple[dict[str, list[list[int]]], str]:
    """The sets that are large enough, a gene as its columns; and what became of all, in words."""
    given = read_gene_sets(path)
    found = found_genes(given, (sample["genes"] for sample in samples.values()))
    wanted = {gene for genes in found.values() for gene in genes}
    columns_of: dict[str, set[int]] = {word: set() for word in wanted}
    for sample in samples.values():
        words = word_columns(sample, genes)
        for word in wanted & words.keys():
            columns_of[word].add(words[word])
    kept = {
        name: [sorted(columns_of[gene]) for gene in genes]
        for name, genes in found.items()
        if len(genes) >= MIN_GENES
    }
    return kept, describe_sets(given, found)
