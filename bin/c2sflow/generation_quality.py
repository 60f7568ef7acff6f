"""Generated cells against real cells of the same type, beside what they must beat.

Cells are unpaired. A generated sentence ends where its answer does, so real sentences are cut to
the generated ones' usual length before genes are compared, and both become expression through the
rank fit. What stands in the place of the generated cells:

another_cell, measured_half
    no generator, but what one could reach: other real cells of the type.
all_types
    a draw of all real cells, of this type as often as it occurs: a generator that ignores the type
    and is perfect otherwise.

All are compared at one depth and in equal numbers: with one half of the real cells of the type, of
which the other half takes no part but in what stands beside the model. Values are means over
splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.accuracy import fit_components
from c2sflow.distances import MAX_CELLS
from c2sflow.figure_cells import FigureCells
from c2sflow.generation_figures import Kind, Rival, type_figures
from c2sflow.measured_perturbations import draw
from c2sflow.perturbation_quality import MIN_CELLS, mean_figures
from c2sflow.reconstruction import expression_from_ranks
from c2sflow.resampling import Figure
from c2sflow.run_cells import RunCells


def generation_figures(
    cells: RunCells, generated: pd.DataFrame, usable: FigureCells, label_column: str | None,
    most: int, seed: int,
) -> tuple[list[Figure], list[str]]:  # fmt: skip
    """Figures of every cell type that real cells have too, and what is to be known of them.

    Parameters
    ----------
    generated
        From `RunCells.generated`.
    usable
        Of `label_column`: training cells are none to compare with.
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
    labels = np.where(usable.held_out, "", None) if untyped else usable.judged_labels
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
    known = np.flatnonzero([label is not None for label in labels])
    every = draw(cells.obs, known, MAX_CELLS, seed, "all types")
    kinds, of_all, rows = _kinds(cells, real, made, every)
    figures: list[Figure] = []
    for name in real:
        others = of_all.rows(np.flatnonzero(labels[rows] != name))
        enough = len(others) >= MIN_CELLS
        rival = Rival(others, float(np.mean(labels[known] == name))) if enough else None
        figures += type_figures(name, *kinds[name], rival, seed)
    return [*figures, *([] if untyped else mean_figures(figures))], notes


def _drawn(generated: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    ids = generated.rename(columns={"organism": "sample", "number": "cell_id"})
    return generated.iloc[draw(ids, np.arange(len(ids)), most, seed, "generated")]


def _kinds(
    cells: RunCells, real: Mapping[str, np.ndarray], made: Mapping[str, pd.DataFrame],
    every: np.ndarray,
) -> tuple[dict[str, tuple[Kind, Kind]], Kind, np.ndarray]:  # fmt: skip
    """Generated and real cells of each type, and cells of all types with their rows.

    Of all only those with genes and a vector.
    """
    said = {name: cells.said_generated(some) for name, some in made.items()}
    lengths = [genes.size for sentences, _ in said.values() for genes in sentences]
    depth = max(1, int(np.median(lengths)))
    fit = cells.fit["slope"], cells.fit["intercept"]

    def kind(sentences: Sequence[np.ndarray], vectors: np.ndarray) -> tuple[Kind, np.ndarray]:
        known = np.isfinite(vectors).all(axis=1)
        known &= np.array([genes.size > 0 for genes in sentences], dtype=bool)
        kept = np.flatnonzero(known)
        cut = [sentences[n][:depth] for n in kept]
        expression = expression_from_ranks(cut, len(cells.genes), *fit)
        return Kind(cut, {"X_c2s": vectors[kept]}, expression), kept

    def real_kind(rows: np.ndarray) -> tuple[Kind, np.ndarray]:
        return kind(cells.sentences(rows), cells.obsm("X_c2s", rows))

    of_all, kept = real_kind(every)
    found = {name: (kind(*said[name])[0], real_kind(rows)[0]) for name, rows in real.items()}
    components = fit_components(sparse.vstack([own.said for _, own in found.values()], "csr"), 0)
    for one in [of_all, *(one for pair in found.values() for one in pair)]:
        places = components.transform(one.said) if len(one) else np.empty((0, 1))
        one.spaces["sentence_pcs"] = places
    return found, of_all, every[kept]
