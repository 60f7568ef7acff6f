"""A run's sentences and predictions to its tables of effects: what EFFECTS does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from c2sflow.effects import effects_table
from c2sflow.gene_alignment import GeneAlignment, GeneTable, word_columns
from c2sflow.gene_sets import MIN_GENES, describe_sets, found_genes, read_gene_sets
from c2sflow.provenance import write_beside, write_json
from c2sflow.reconstruction import RankFit
from c2sflow.screen import rank_screen, screen_rows
from c2sflow.shift_matrices import Shard, read_shifts
from c2sflow.summaries import SentenceFiles

LOGGER = logging.getLogger(__name__)
TSV = {"sep": "\t", "index": False, "float_format": "%.6g"}


def write_effects(
    sentences_dir: Path,
    shards_dir: Path,
    perturbed_dir: Path,
    outdir: Path,
    gene_sets_file: Path | None = None,
    context: str | None = None,
    seed: int = 42,
) -> None:
    """Write ``perturbation/perturbation_effects.tsv``, ``perturbation/screen.tsv`` if there are
    gene sets, and ``effects.json``: what is to be known of them.

    Parameters
    ----------
    sentences_dir, shards_dir, perturbed_dir
        <id>.sentences.json; <shard>.parquet; <shard>.perturbed.parquet.
    gene_sets_file
        GMT, see `c2sflow.gene_sets.read_gene_sets`.
    context
        Column of obs whose values are compared in the screen.
    seed
        Of the bootstrap.

    Raises
    ------
    UserError
        If a file is missing or broken.
    """
    samples = SentenceFiles.of(sentences_dir)
    alignment, fit = GeneAlignment(), RankFit()
    for sample in samples.values():
        alignment.add(GeneTable.of_summary(sample))
        fit += RankFit(*sample["rank_fit_sums"])
    genes, fit = alignment.names, fit.solve()
    measured = np.zeros((len(samples), len(genes)), dtype=bool)
    for row, sample in zip(measured, samples.values(), strict=True):
        row[alignment.columns(GeneTable.of_summary(sample))] = True
    shards = _shards(samples, alignment, shards_dir, perturbed_dir)
    gene_sets, notes = {}, {"effects": [], "screen": []}
    if gene_sets_file is not None:
        gene_sets, said = _gene_sets(gene_sets_file, samples, alignment)
        notes["screen"].append(said)
    n_empty, n_unknown, rows = 0, 0, []
    with write_beside(outdir / "perturbation" / "perturbation_effects.tsv") as partial:
        used = context if gene_sets else None
        for number, shifts in enumerate(read_shifts(shards, len(genes), fit, used)):
            table = effects_table(shifts, genes, measured)
            table.to_csv(partial, mode="a", header=not number, **TSV)
            n_empty += shifts.n_empty
            if gene_sets:
                rows += screen_rows(shifts, gene_sets, seed)
            if used:
                n_unknown += int(shifts.cells["context"].isna().sum())
    if n_empty:
        notes["effects"].append(
            f"{n_empty} predictions could not be compared: a sentence holds no gene"
        )
    if n_unknown:
        notes["screen"].append(
            f"{n_unknown} predictions have no {context}: they count in no context"
        )
    if gene_sets_file is not None:
        with write_beside(outdir / "perturbation" / "screen.tsv") as partial:
            rank_screen(rows).to_csv(partial, **TSV)
    write_json(outdir / "effects.json", notes)
    for note in (*notes["effects"], *notes["screen"]):
        LOGGER.info(note)


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
