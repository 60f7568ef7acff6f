"""Generated cells against real cells of the same type, beside what they must beat.

Cells are unpaired. A generated sentence ends where its answer does, so real sentences are cut to
the generated ones' usual length before genes are compared, and both become expression through the
rank fit. What stands in the place of the generated cells:

another_cell, measured_half
    no generator, but what one could reach: other real cells of the type.
other_types
    real cells of the other types: what a generator that ignores the type would say at best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.accuracy import fit_components
from c2sflow.distances import MAX_CELLS, energy_replicates, scfid_replicates
from c2sflow.gene_agreement import gene_overlap, mean_order
from c2sflow.measured_perturbations import draw
from c2sflow.perturbation_quality import DEPTHS, MIN_CELLS, mean_figures
from c2sflow.reconstruction import expression_from_ranks
from c2sflow.resampling import Figure, bootstrap_interval, weights
from c2sflow.run_cells import RunCells

DISTANCES = {"scfid": scfid_replicates, "energy_distance": energy_replicates}


@dataclass
class Kind:
    """Cells of one kind.

    Attributes
    ----------
    sentences
        Columns of the genes of each cell, highest first.
    spaces
        Name to float (n_cells, n_dimensions): where distances are measured.
    said
        CSR (n_cells, n_genes): expression of the sentences by the rank fit.
    """

    sentences: list[np.ndarray]
    spaces: dict[str, np.ndarray]
    said: sparse.csr_matrix

    def __len__(self) -> int:
        return len(self.sentences)

    def rows(self, chosen: slice) -> Kind:
        """Some of the cells."""
        spaces = {name: vectors[chosen] for name, vectors in self.spaces.items()}
        return Kind(self.sentences[chosen], spaces, self.said[chosen])


def generation_figures(
    cells: RunCells, generated: pd.DataFrame, label_column: str | None, most: int, seed: int
) -> tuple[list[Figure], list[str]]:
    """Figures of every cell type that real cells have too, and what is to be known of them.

    Parameters
    ----------
    generated
        From `RunCells.generated`.
    label_column
        Column of obs with the real cells' types. Cells that were generated of no type are compared
        with all cells.
    most
        Generated cells of all types together that are looked at, and as many real ones; of each
        type the same number.
    """
    types = generated["c2s_cell_type"].astype(str)
    names = sorted(set(types))
    untyped = names == [""]
    if not untyped and label_column is None:
        return [], ["without --label_column there are no cell types to compare with"]
    labels = np.full(len(cells.obs), "") if untyped else cells.obs[label_column].astype(str)
    labels = np.where(np.isin(labels, names), labels, None) if not untyped else labels
    limit = min(MAX_CELLS, max(MIN_CELLS, most // len(names)))
    real, made, notes = {}, {}, []
    for name in names:
        own = np.flatnonzero(labels == name)
        rows = draw(cells.obs, own, limit, seed, "generation")
        some = _drawn(generated[types == name], limit, seed)
        if min(len(rows), len(some)) < MIN_CELLS:
            notes.append(
                f"{name or 'cells'}: fewer than {MIN_CELLS} generated cells, or real cells of "
                f"{label_column or 'the data'}"
            )
            continue
        real[name], made[name] = rows, some
    if not real:
        return [], notes
    kinds = _kinds(cells, real, made)
    figures: list[Figure] = []
    for name in real:
        others = [kinds[other][0] for other in real if other != name]
        figures += _figures(name, *kinds[name], _mixed(others), seed)
    return [*figures, *([] if untyped else mean_figures(figures))], notes


def _drawn(generated: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    ids = generated.rename(columns={"organism": "sample", "number": "cell_id"})
    return generated.iloc[draw(ids, np.arange(len(ids)), most, seed, "generated")]


def _kinds(
    cells: RunCells, real: Mapping[str, np.ndarray], made: Mapping[str, pd.DataFrame]
) -> dict[str, tuple[Kind, Kind]]:
    """Real and generated cells of each type; of both only those with genes and a vector."""
    said = {name: cells.said_generated(some) for name, some in made.items()}
    lengths = [genes.size for sentences, _ in said.values() for genes in sentences]
    depth = max(1, int(np.median(lengths)))
    fit = cells.fit["slope"], cells.fit["intercept"]

    def kind(sentences: Sequence[np.ndarray], vectors: np.ndarray) -> Kind:
        known = np.isfinite(vectors).all(axis=1)
        whole = [n for n, genes in enumerate(sentences) if genes.size and known[n]]
        cut = [sentences[n][:depth] for n in whole]
        expression = expression_from_ranks(cut, len(cells.genes), *fit)
        return Kind(cut, {"X_c2s": vectors[whole]}, expression)

    found = {
        name: (kind(cells.sentences(rows), cells.obsm("X_c2s", rows)), kind(*said[name]))
        for name, rows in real.items()
    }
    together = sparse.vstack([own.said for own, _ in found.values()], "csr")
    components = fit_components(together, 0)
    for pair in found.values():
        for one in pair:
            one.spaces["sentence_pcs"] = (
                components.transform(one.said) if len(one) else np.empty((0, 1))
            )
    return found


def _mixed(kinds: Sequence[Kind]) -> Kind | None:
    """Cells of several kinds, by turns."""
    if not kinds:
        return None
    order = np.argsort(np.concatenate([np.arange(len(kind)) for kind in kinds]), kind="stable")
    order = order[:MAX_CELLS]
    sentences = [genes for kind in kinds for genes in kind.sentences]
    spaces = {
        name: np.concatenate([kind.spaces[name] for kind in kinds])[order]
        for name in kinds[0].spaces
    }
    said = sparse.vstack([kind.said for kind in kinds], "csr")[order]
    return Kind([sentences[n] for n in order], spaces, said)


def _figures(name: str, real: Kind, made: Kind, others: Kind | None, seed: int) -> Iterator[Figure]:
    """Of one type, of the model and of what stands in its place."""
    halves = real.rows(slice(0, None, 2)), real.rows(slice(1, None, 2))
    pairs = {"model": (made, real), "other_types": (others, real), "measured_half": halves}
    pairs = {predictor: pair for predictor, pair in pairs.items() if pair[0] is not None}
    for predictor, (one, other) in pairs.items():
        yield from _distances(name, predictor, one, other, seed)
        yield from _orders(name, predictor, one, other, seed)
    places = {"model": made.sentences, "another_cell": [*real.sentences[1:], real.sentences[0]]}
    if others is not None:
        places["other_types"] = others.sentences
    for predictor, sentences in places.items():
        yield from _overlaps(name, predictor, sentences, real.sentences, seed)


def _distances(name: str, predictor: str, one: Kind, other: Kind, seed: int) -> Iterator[Figure]:
    for space in one.spaces:
        for metric, replicates in DISTANCES.items():
            values = replicates(one.spaces[space], other.spaces[space], seed)
            ends = bootstrap_interval(values, (0, np.inf))
            yield Figure(
                metric, name, predictor, float(values[0]), len(one), space, *ends, len(other)
            )


def _orders(name: str, predictor: str, one: Kind, other: Kind, seed: int) -> Iterator[Figure]:
    """Overlap of the genes that are highest in the mean."""
    drawn = [
        np.asarray(weights(len(kind), seed, number, n_resamples=100) @ kind.said)
        for number, kind in enumerate((one, other))
    ]
    orders = [[mean_order(row) for row in rows] for rows in drawn]
    for depth, k in DEPTHS.items():
        values = np.array([gene_overlap(a, b, k) for a, b in zip(*orders, strict=True)])
        ends = bootstrap_interval(values, (0, 1))
        yield Figure(
            f"gene_overlap_{depth}", name, predictor, float(values[0]), len(one), "pseudobulk",
            *ends, len(other),
        )  # fmt: skip


def _overlaps(
    name: str, predictor: str, made: Sequence, real: Sequence, seed: int
) -> Iterator[Figure]:
    """Mean overlap of a cell with a real one."""
    for depth, k in DEPTHS.items():
        values = np.array(
            [gene_overlap(genes, real[n % len(real)], k) for n, genes in enumerate(made)]
        )
        ends = bootstrap_interval(weights(len(values), seed) @ values, (0, 1))
        yield Figure(
            f"gene_overlap_{depth}", name, predictor, float(values.mean()), len(values), "cells",
            *ends, len(real),
        )  # fmt: skip
