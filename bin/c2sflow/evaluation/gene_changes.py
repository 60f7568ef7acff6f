"""Predicted against measured change of each gene of one condition: what genes.tsv holds.

Both are log2 fold changes of 1 + expression at 10,000 a cell, means over cells. The predicted one
is that of EFFECTS: the answer against the answer of the same cell to the no-op, or without one
against its own sentence. The measured one is that of measured against control cells.

No control cell is on both sides: a change that either side takes from the same noisy cells would
agree where nothing happened. So half of the control cells, those without an answer first, are what
measured cells are compared with, and the predictions are the answers to the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.common.statistics import (
    MIN_UNITS,
    Estimates,
    difference_of,
    difference_of_moments,
    mean_of,
    mean_of_moments,
    moments_of_sums,
    replicate_means,
)
from c2sflow.data.obs.labels import is_labelled
from c2sflow.evaluation.changes import row_correlation
from c2sflow.evaluation.conditions import answer_shifts
from c2sflow.evaluation.figures import Figure, bootstrap_interval, draw_others, weights
from c2sflow.evaluation.run_reader import RunCells
from c2sflow.sentences.compare import LOG2_OF_LOG10
from c2sflow.sentences.no_ops import OWN_SENTENCE

METRIC, SPACE = "pearson_log2_fold_change", "genes"
N_RESAMPLES = 100  # bootstrap resamples, and permutations of the labels
MIN_SIDE = 2  # cells on each side
CELLS = "cells"  # the unit without replicates


@dataclass
class Side:
    """Cells, or shifts of cells, that a mean is of.

    Attributes
    ----------
    values
        CSR (n_cells, n_genes), log2.
    samples
        int (n_cells,): sample of each.
    replicates
        Replicate of each, None where it has none; None for all without replicates.
    has
        bool (n_samples, n_genes): which genes each sample has. A cell shows nothing of the others.
    """

    values: sparse.csr_matrix
    samples: np.ndarray
    replicates: pd.Series | None
    has: np.ndarray

    def __len__(self) -> int:
        return len(self.samples)

    def of_genes(self, genes: np.ndarray) -> Side:
        """The same of some genes."""
        return Side(self.values[:, genes], self.samples, self.replicates, self.has[:, genes])

    def shares(self) -> np.ndarray:
        """How much each cell counts, float (n_cells,): replicates count alike."""
        if self.replicates is None:
            return np.ones(len(self))
        return (1 / self.replicates.map(self.replicates.value_counts())).fillna(0).to_numpy(float)

    def counts(self, times: np.ndarray) -> np.ndarray:
        """Sum over the cells that can show a gene, float (n_rows, n_genes).

        Parameters
        ----------
        times
            float (n_rows, n_cells): how much each cell counts.
        """
        return times @ self._member() @ self.has

    def means(self, times: np.ndarray) -> np.ndarray:
        """Means over the cells that can show a gene, float (n_rows, n_genes)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return (times @ self.values) / self.counts(times)

    def _member(self) -> sparse.csr_matrix:
        """Which sample each cell is of, (n_cells, n_samples)."""
        entries = np.ones(len(self)), (np.arange(len(self)), self.samples)
        return sparse.csr_matrix(entries, (len(self), len(self.has)))

    def moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, its variance and number of cells, each float (n_genes,)."""
        values = self.values.astype(np.float64)
        squares = values.multiply(values).sum(axis=0)
        total, squares = (np.asarray(sums).ravel() for sums in (values.sum(axis=0), squares))
        return moments_of_sums(total, squares, self.counts(np.ones((1, len(self))))[0])

    def replicate_values(self) -> pd.DataFrame:
        """Mean of each replicate's cells, a row each; NaN of genes that its samples lack."""
        shares = replicate_means(self._member(), self.replicates) @ self.has
        sums = replicate_means(self.values, self.replicates)
        return sums / shares.where(shares > 0).to_numpy()


class GeneChanges:
    """Changes of the genes by condition.

    Parameters
    ----------
    cells
        Of the run.
    replicate_column
        Column of obs with the donor or sample of each cell: the unit of the intervals.
    seed
        Decides resamples, permutations and the other control cells.
    """

    def __init__(self, cells: RunCells, replicate_column: str | None, seed: int):
        self._cells, self._seed = cells, seed
        self._column, self._has = replicate_column, cells.genes_of_samples()

    def condition(
        self, name: str, answers: pd.DataFrame, measured: np.ndarray, control: np.ndarray
    ) -> tuple[pd.DataFrame, list[Figure]] | None:
        """Table and figures of one condition; None of too few cells.

        Parameters
        ----------
        answers
            Rows of `RunCells.answers`.
        measured, control
            Rows of the cells measured under it, and of control cells, in drawn order.
        """
        matched = answers["no_op_row"].to_numpy() >= 0
        if matched.any():
            answers = answers[matched]
        reference = self._reference(control, answers["source"].to_numpy())
        answers = answers[~answers["source"].isin(reference)]
        if min(len(reference), len(measured), answers["source"].nunique()) < MIN_SIDE:
            return None
        predicted, copies, compared_with = self._predicted(answers)
        if len(predicted) < MIN_SIDE:
            return None
        every = [predicted, copies, self._measured(measured), self._measured(reference)]
        genes = np.flatnonzero(sum(side.values.getnnz(axis=0) for side in every))
        predicted, copies, true, unchanged = (side.of_genes(genes) for side in every)
        table = self._table(predicted, true, unchanged)
        table.insert(0, "condition", name)
        table.insert(1, "gene", np.asarray(self._cells.genes, dtype=object)[genes])
        table.insert(2, "compared_with", compared_with)
        order = np.lexsort((table["gene"], -table["measured_log2_fold_change"].abs()))
        return table.iloc[order], list(self._figures(name, predicted, copies, true, unchanged))

    def _replicates(self, rows: np.ndarray) -> pd.Series | None:
        if self._column is None:
            return None
        labels = self._cells.obs[self._column].iloc[rows].reset_index(drop=True)
        return labels.astype(object).where(is_labelled(labels), None)

    def _reference(self, control: np.ndarray, sources: np.ndarray) -> np.ndarray:
        """Control cells that no prediction is made from; of each replicate half or more."""
        replicates = self._replicates(control)
        labels = np.zeros(len(control)) if replicates is None else pd.factorize(replicates)[0]
        answered = np.isin(control, sources)
        chosen = [np.empty(0, dtype=control.dtype)]
        for label in np.unique(labels):
            own, taken = control[labels == label], answered[labels == label]
            ordered = np.concatenate([own[~taken], own[taken]])
            chosen.append(ordered[: max(len(own) // 2, int((~taken).sum()))])
        return np.concatenate(chosen)

    def _measured(self, rows: np.ndarray) -> Side:
        values = self._cells.expression(rows) * np.float32(LOG2_OF_LOG10)
        return Side(values, self._cells.sample_numbers(rows), self._replicates(rows), self._has)

    def _predicted(self, answers: pd.DataFrame) -> tuple[Side, Side, str]:
        """Shifts of each cell; those of another cell in place of its answer; compared with what."""
        rows = answers["source"].to_numpy()
        sentences = self._cells.answer_sentences(answers)[0]
        compared_with = OWN_SENTENCE
        own = others = self._cells.sentences(rows)
        if (answers["no_op_row"] >= 0).any():
            compared_with = str(answers["no_op"].iloc[0])
            others = self._cells.no_op_sentences(answers)
        kept = [n for n in range(len(rows)) if len(sentences[n]) and len(others[n])]
        rows, sentences, others, own = rows[kept], *(
            [genes[n] for n in kept] for genes in (sentences, others, own)
        )  # fmt: skip
        twins = draw_others(rows, self._seed)
        heads = [own[twin][: len(s)] for s, twin in zip(sentences, twins, strict=True)]
        predicted = self._shifts(rows, sentences, others)
        return predicted, self._shifts(rows, heads, own), compared_with

    def _shifts(
        self, rows: np.ndarray, sentences: Sequence[np.ndarray], others: Sequence[np.ndarray]
    ) -> Side:
        """Mean shift of each cell over its answers."""
        shifts = answer_shifts(sentences, others, len(self._cells.genes), self._cells.fit)
        cells, place, n = np.unique(rows, return_inverse=True, return_counts=True)
        entries = LOG2_OF_LOG10 / n[place], (place, np.arange(len(rows)))
        means = sparse.csr_matrix(entries, (len(cells), len(rows))) @ shifts
        replicates = self._replicates(cells)
        return Side(means, self._cells.sample_numbers(cells), replicates, self._has)

    def _table(self, predicted: Side, measured: Side, reference: Side) -> pd.DataFrame:
        """Both changes of each gene, with their intervals."""
        counts = {}
        for name, side in (
            ("n_measured", measured), ("n_control", reference), ("n_predicted", predicted),
        ):  # fmt: skip
            counts[name] = side.counts(np.ones((1, len(side))))[0].astype(int)
        if self._column is None:
            found = mean_of_moments(predicted.moments())
            true = difference_of_moments(measured.moments(), reference.moments())
        else:
            found, counts["n_predicted_replicates"] = _over_replicates(predicted)
            true, counts["n_measured_replicates"] = _over_replicates(measured, reference)
        columns = _with_interval("measured", true) | _with_interval("predicted", found)
        return pd.DataFrame(columns | {"unit": self._column or CELLS} | counts)

    def _figures(
        self, name: str, predicted: Side, copies: Side, measured: Side, reference: Side
    ) -> Iterator[Figure]:
        """Correlation of both changes over the genes; beside it what a copied cell reaches.

        The null: measured and control cells swap their labels. Intervals are over cells.
        """
        drawn = [self._drawn(side, n) for n, side in enumerate((measured, reference))]
        true = measured.means(drawn[0]) - reference.means(drawn[1])
        swapped = self._swapped(measured, reference)
        n = min(len(predicted), len(measured), len(reference))
        for place, (predictor, side) in enumerate(
            (("model", predicted), ("another_control", copies))
        ):
            guess = side.means(self._drawn(side, 2 + place))
            known = np.isfinite(true[0]) & np.isfinite(guess[0])
            if not known.any():
                continue
            values = row_correlation(true[:, known], guess[:, known])
            null = row_correlation(swapped[:, known], guess[:1, known])
            null = null[np.isfinite(null)]
            ends = np.quantile(null, [0.025, 0.975]) if null.size else (np.nan, np.nan)
            low, high = bootstrap_interval(values, n, (-1, 1))
            yield Figure(
                METRIC, name, predictor, float(values[0]), len(predicted), SPACE, low, high,
                len(measured), float(null.mean()) if null.size else np.nan, *map(float, ends),
            )  # fmt: skip

    def _drawn(self, side: Side, number: int) -> np.ndarray:
        """How much each cell counts: as it is, and in each resample."""
        return weights(len(side), self._seed, number, n_resamples=N_RESAMPLES) * side.shares()

    def _swapped(self, measured: Side, reference: Side) -> np.ndarray:
        """Measured change of permuted labels, float (N_RESAMPLES, n_genes)."""
        both = Side(
            sparse.vstack([measured.values, reference.values], "csr"),
            np.concatenate([measured.samples, reference.samples]), None, measured.has,
        )  # fmt: skip
        labels = np.arange(len(both)) < len(measured)
        rng = np.random.default_rng([self._seed, 4])
        swapped = rng.permuted(np.tile(labels, (N_RESAMPLES, 1)), axis=1)
        return both.means(swapped.astype(float)) - both.means((~swapped).astype(float))


def _with_interval(side: str, found: Estimates) -> dict[str, np.ndarray]:
    """Columns of one side. No interval of units that are all the same, as of a gene that no answer
    reaches: they do not show how others differ.
    """
    differ = found.error > 1e-7 * np.abs(found.value)  # beyond rounding
    low, high = (np.where(differ, end, np.nan) for end in found.interval())
    names = ("log2_fold_change", "ci_low", "ci_high")
    return {f"{side}_{n}": v for n, v in zip(names, (found.value, low, high), strict=True)}


def _over_replicates(one: Side, other: Side | None = None) -> tuple[Estimates, np.ndarray]:
    """Mean over the replicates, or difference; and how many there are, int (n_genes,).

    Replicates that are on both sides are compared within each, if there are enough of them.
    """
    values = one.replicate_values()
    if other is None:
        return mean_of(values.to_numpy().T), values.notna().sum().to_numpy()
    others = other.replicate_values()
    shared = values.index.intersection(others.index)
    if len(shared) >= MIN_UNITS:
        within = values.loc[shared] - others.loc[shared]
        return mean_of(within.to_numpy().T), within.notna().sum().to_numpy()
    n = np.minimum(values.notna().sum().to_numpy(), others.notna().sum().to_numpy())
    return difference_of(values.to_numpy().T, others.to_numpy().T), n
