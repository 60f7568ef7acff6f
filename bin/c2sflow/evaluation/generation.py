"""Generated cells of one type against real ones, beside real cells in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.data.obs.figure_cells import FigureCells
from c2sflow.data.obs.measured_cells import draw
from c2sflow.data.own_columns import generated_column
from c2sflow.evaluation.accuracy import fit_components
from c2sflow.evaluation.changes import DEPTHS
from c2sflow.evaluation.distances import MAX_CELLS, EnergyDistance, scfid_bias, scfid_of_rows
from c2sflow.evaluation.figures import Figure, Key, bootstrap_interval, cell_weights, summarise
from c2sflow.evaluation.halves import N_EACH, N_RESAMPLES, N_SPLITS, TOGETHER, shares, some, thinned
from c2sflow.evaluation.perturbation import MIN_CELLS, mean_figures
from c2sflow.evaluation.run_reader import RunCells
from c2sflow.sentences.compare import agreement_of_rows, chance_overlap, gene_overlap, top_genes
from c2sflow.sentences.rank_fit import expression_from_ranks

MIN_REAL_CELLS = 4  # each half of the real cells holds two


@dataclass
class Kind:
    """Cells of one kind.

    Attributes
    ----------
    sentences
        Columns of the genes of each cell, highest first.
    spaces
        Name to float (n_cells, n_dimensions): where distances are measured.
    expression
        CSR (n_cells, n_genes): expression of the sentences by the rank fit.
    """

    sentences: list[np.ndarray]
    spaces: dict[str, np.ndarray]
    expression: sparse.csr_matrix

    def __len__(self) -> int:
        return len(self.sentences)

    def rows(self, chosen: np.ndarray) -> Kind:
        """Some of the cells."""
        spaces = {name: vectors[chosen] for name, vectors in self.spaces.items()}
        return Kind([self.sentences[n] for n in chosen], spaces, self.expression[chosen])


@dataclass
class Rival:
    """What a generator that ignores the type draws from: real cells.

    Attributes
    ----------
    others
        Cells of the other types, as often as these occur.
    share
        Share of all cells that are of the type itself, 0 to 1: so many are real cells of the type
        that the generated ones are not compared with.
    """

    others: Kind
    share: float


def type_figures(
    subject: str, made: Kind, real: Kind, rival: Rival | None, seed: int
) -> Iterator[Figure]:
    """All figures of one type."""
    if min(len(made), len(real)) < MIN_REAL_CELLS:
        return
    halves = _Halves(len(real), len(made), rival, seed)
    found = _Groups(made, real, rival, seed)
    for key, summary in summarise(halves, found).items():
        metric, _, predictor = key
        n = {"model": len(made), "measured_half": len(real)}.get(predictor, len(halves.everyone))
        n_reference, depth, chance = len(real), np.nan, np.nan
        if metric in found.depths:
            depth = found.depths[metric]
            chance = chance_overlap(depth, found.n_genes)
        elif metric == "scfid":
            n = n_reference = found.n_compared
        yield summary.figure(key, subject, n, n_reference=n_reference, depth=depth, chance=chance)
    splits = halves.observed().real
    for space, places in real.spaces.items():
        for size, value in scfid_bias(places, splits, seed).items():
            yield Figure(f"scfid_bias_{size}", subject, "measured_half", value, size, space,
                         n_reference=size)  # fmt: skip
    yield from overlap_figures(subject, made, real, rival, seed)


@dataclass
class _Rows:
    """How often each cell counts in each split, int (n_rows, n_cells).

    `mixed` counts real cells of the type, and behind them those of other types.
    """

    real: np.ndarray
    half: np.ndarray
    made: np.ndarray
    mixed: np.ndarray


class _Halves:
    """Splits of the real cells of a type: one half to compare with, of the other half rivals."""

    def __init__(self, n_real: int, n_made: int, rival: Rival | None, seed: int):
        self._n_real, self._n_made, self._seed = n_real, n_made, seed
        self._n_others = 0 if rival is None else len(rival.others)
        self._share = 0.0 if rival is None else rival.share
        self.everyone = range(n_real + self._n_others)

    def observed(self) -> _Rows:
        """The cells as they are, in `N_SPLITS` splits."""
        return self._rows(N_SPLITS, 1, np.random.default_rng([self._seed, 0]))

    def resampled(self) -> Iterator[tuple[None, _Rows]]:
        """Bootstrap resamples of the cells, each in `N_EACH` splits."""
        rng = np.random.default_rng([self._seed, 1])
        for _ in range(0, N_RESAMPLES, TOGETHER):
            yield None, self._rows(TOGETHER, N_EACH, rng, resample=True)

    def permuted(self) -> Iterator[_Rows]:
        """None: what ignores the type is a draw of all cells."""
        yield from ()

    def _rows(
        self, n_rows: int, n_each: int, rng: np.random.Generator, resample: bool = False
    ) -> _Rows:
        def times(n: int) -> np.ndarray:
            drawn = np.ones((n_rows, n), dtype=int)
            if resample and n:
                drawn = rng.multinomial(n, np.full(n, 1 / n), n_rows)
            return np.repeat(drawn, n_each, axis=0)

        real, made, others = (times(n) for n in (self._n_real, self._n_made, self._n_others))
        all_real = np.ones(real.shape, dtype=bool)
        truth = some(all_real, np.full(len(real), self._n_real // 2), rng)
        most = min([self._n_made, self._n_real - self._n_real // 2])
        most = min([most, self._n_others]) if self._n_others else most
        size = np.full(len(real), most)
        own = rng.binomial(size, self._share)
        mixed = [real * some(~truth, own, rng)]
        mixed += [others * some(np.ones(others.shape, dtype=bool), size - own, rng)]
        return _Rows(
            real=real * truth,
            half=real * some(~truth, size, rng),
            made=made * some(np.ones(made.shape, dtype=bool), size, rng),
            mixed=np.concatenate(mixed, axis=1),
        )


class _Groups:
    """Sentences and places of the cells, and what the groups of many splits agree in."""

    def __init__(self, made: Kind, real: Kind, rival: Rival | None, seed: int):
        self._seed = seed
        kinds = [real] if rival is None else [real, rival.others]
        expression = sparse.vstack([made.expression, *(kind.expression for kind in kinds)], "csr")
        seen = np.flatnonzero(expression.getnnz(axis=0))
        self.n_genes = seen.size
        self._made = expression[: len(made), seen]
        self._everyone = expression[len(made) :, seen]
        self._places = {
            name: (places, np.concatenate([kind.spaces[name] for kind in kinds]))
            for name, places in made.spaces.items()
        }
        self._energy = {
            name: (EnergyDistance(one, every), EnergyDistance(every, every))
            for name, (one, every) in self._places.items()
        }
        self._mixes, self._n_real = rival is not None, len(real)
        halves = _Halves(len(real), len(made), rival, seed)
        levels = self._levels(halves.observed()).values()
        depth = int(min((level > 0).sum(axis=1).min() for level in levels))
        self.depths = {f"gene_overlap_{name}": min(depth, k or depth) for name, k in DEPTHS.items()}
        self.n_compared = 0

    def _every(self, real: np.ndarray) -> np.ndarray:
        """Counts of real cells as counts of all cells."""
        rest = self._everyone.shape[0] - self._n_real
        return np.concatenate([real, np.zeros((len(real), rest), dtype=int)], axis=1)

    def _levels(self, rows: _Rows) -> dict[str, np.ndarray]:
        """Mean expression of the truth (""), the model and its rivals."""
        found = {
            "": shares(self._every(rows.real)) @ self._everyone,
            "model": shares(rows.made) @ self._made,
            "measured_half": shares(self._every(rows.half)) @ self._everyone,
        }
        if self._mixes:
            found["all_types"] = shares(rows.mixed) @ self._everyone
        return found

    def __call__(self, rows: _Rows, _: np.ndarray | None) -> Mapping[Key, np.ndarray]:
        found: dict[Key, np.ndarray] = {}
        real, half = self._every(rows.real), self._every(rows.half)
        for space, (made, every) in self._places.items():
            groups = {"model": (made, rows.made), "measured_half": (every, half)}
            if self._mixes:
                groups["all_types"] = every, rows.mixed
            for name, (_, times) in groups.items():
                energy = self._energy[space][name != "model"]
                found["energy_distance", space, name] = energy.rows(times, real)
            distances, size = scfid_of_rows(groups, every, real, self._seed)
            self.n_compared = self.n_compared or size
            found |= {("scfid", space, name): values for name, values in distances.items()}
        return found | self._order(rows)

    def _order(self, rows: _Rows) -> dict[Key, np.ndarray]:
        """Overlap of the genes that are highest in the mean."""
        deepest = self.depths["gene_overlap_full"]
        chosen = thinned(len(rows.real))
        levels = {name: level[chosen] for name, level in self._levels(rows).items()}
        tops = {name: top_genes(level, deepest) for name, level in levels.items()}
        true, n_true = tops.pop("")
        found = {}
        for metric, k in self.depths.items():
            for name, (genes, n) in tops.items():
                depths = np.minimum(np.minimum(n, n_true), k)
                overlap, _ = agreement_of_rows(genes[:, :k], true[:, :k], depths, self.n_genes)
                found[metric, "pseudobulk", name] = np.full(len(rows.real), np.nan)
                found[metric, "pseudobulk", name][chosen] = overlap
        return found


def overlap_figures(
    subject: str, made: Kind, real: Kind, rival: Rival | None, seed: int
) -> Iterator[Figure]:
    """Mean overlap of a cell with a real one; in the place of each generated cell two real ones.

    The four sentences of a place are cut to the shortest of them. Where a real cell is in several
    places, its own or another's, the interval draws it with all of them (`cell_weights`).
    """
    rng = np.random.default_rng([seed, 2])
    n, n_real = len(made), len(real)
    wanted = np.arange(n) % n_real
    another = (wanted + 1 + rng.integers(n_real - 1, size=n)) % n_real
    pool = real.sentences
    standing: dict[str, np.ndarray] = {"another_cell": another}  # places in the pool
    if rival is not None:
        pool = [*pool, *rival.others.sentences]
        drawn = rng.integers(len(rival.others), size=n)
        own = rng.random(n) < rival.share
        standing["all_types"] = np.where(own, another, n_real + drawn)
    placed = {"model": made.sentences}
    placed |= {name: [pool[k] for k in cells] for name, cells in standing.items()}
    truth = [pool[k] for k in wanted]
    shortest = [min(map(len, genes)) for genes in zip(truth, *placed.values(), strict=True)]
    n_genes = np.unique(np.concatenate([*truth, *(g for s in placed.values() for g in s)])).size
    shares = {name: cell_weights(wanted, seed, standing.get(name)) for name in placed}
    for name, k in DEPTHS.items():
        depths = [min(length, k or length) for length in shortest]
        depth = float(np.mean(depths))
        for predictor, sentences in placed.items():
            values = np.array(
                [gene_overlap(a, b, d) for a, b, d in zip(sentences, truth, depths, strict=True)]
            )
            ends = bootstrap_interval(shares[predictor] @ values, min(n, n_real), (0, 1))
            yield Figure(
                f"gene_overlap_{name}", subject, predictor, float(np.mean(values)), n, "cells",
                *ends, n_real, depth=depth, chance=chance_overlap(depth, n_genes),
            )  # fmt: skip


def generation_figures(
    cells: RunCells, generated: pd.DataFrame, usable: FigureCells, label_column: str | None,
    most: int, seed: int,
) -> tuple[list[Figure], list[str]]:  # fmt: skip
    """Figures of every cell type that real cells have too, and notes on them.

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
    types = generated[generated_column(generated)].astype(str)
    names = sorted(set(types))
    untyped = names == [""]
    if not untyped and label_column is None:
        return [], ["without --label_column there are no cell types to compare with"]
    labels = usable.judged_labels
    if untyped:
        labels = np.full(usable.held_out.size, None, dtype=object)
        labels[usable.held_out] = ""
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
    kinds, all_cells, rows = _kinds(cells, real, made, every)
    figures: list[Figure] = []
    for name in real:
        others = all_cells.rows(np.flatnonzero(labels[rows] != name))
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
    found_sentences = {name: cells.generated_sentences(some) for name, some in made.items()}
    lengths = [genes.size for sentences, _ in found_sentences.values() for genes in sentences]
    depth = max(1, int(np.median(lengths)))
    fit = cells.fit["slope"], cells.fit["intercept"]

    def kind(sentences: Sequence[np.ndarray], vectors: np.ndarray) -> tuple[Kind, np.ndarray]:
        known = np.isfinite(vectors).all(axis=1)
        known &= np.array([genes.size > 0 for genes in sentences], dtype=bool)
        kept = np.flatnonzero(known)
        cut = [sentences[n][:depth] for n in kept.tolist()]
        expression = expression_from_ranks(cut, len(cells.genes), *fit)
        return Kind(cut, {"X_c2s": vectors[kept]}, expression), kept

    def real_kind(rows: np.ndarray) -> tuple[Kind, np.ndarray]:
        return kind(cells.sentences(rows), cells.obsm("X_c2s", rows))

    all_cells, kept = real_kind(every)
    found = {
        name: (kind(*found_sentences[name])[0], real_kind(rows)[0]) for name, rows in real.items()
    }
    components = fit_components(
        sparse.vstack([own.expression for _, own in found.values()], "csr"), 0
    )
    for one in [all_cells, *(one for pair in found.values() for one in pair)]:
        places = components.transform(one.expression) if len(one) else np.empty((0, 1))
        one.spaces["sentence_pcs"] = places
    return found, all_cells, every[kept]
