"""The cells of one predicted perturbation: predicted, measured and control cells, and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from c2sflow.halves import Halves
from c2sflow.rank_shifts import LOG2_OF_LOG10, compared_ranks, fold_changes


@dataclass
class Group:
    """Cells of one kind.

    Attributes
    ----------
    expression
        CSR (n_cells, n_genes), log10(1 + x).
    spaces
        Name to float (n_cells, n_dimensions): where distances are measured.
    """

    expression: sparse.csr_matrix
    spaces: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return self.expression.shape[0]

    def rows(self, chosen: np.ndarray) -> Group:
        """Some of the cells."""
        return Group(self.expression[chosen], {k: v[chosen] for k, v in self.spaces.items()})

    def mean(self) -> Mean:
        """Their mean in expression and in each space."""
        genes = np.asarray(self.expression.mean(axis=0, dtype=np.float64)).ravel()
        return Mean(genes, {name: places.mean(axis=0) for name, places in self.spaces.items()})


@dataclass
class Mean:
    """A mean cell: float64 (n_genes,), and in each space float64 (n_dimensions,)."""

    genes: np.ndarray
    spaces: Mapping[str, np.ndarray]

    def __sub__(self, other: Mean) -> Mean:
        spaces = {name: place - other.spaces[name] for name, place in self.spaces.items()}
        return Mean(self.genes - other.genes, spaces)


def mean_of(means: Sequence[Mean]) -> Mean:
    """Mean of several."""
    spaces = {k: np.mean([one.spaces[k] for one in means], axis=0) for k in means[0].spaces}
    return Mean(np.mean([one.genes for one in means], axis=0), spaces)


@dataclass
class Baseline:
    """What a baseline has seen: cells of other perturbations, or training cells.

    Attributes
    ----------
    measured
        Mean of these.
    control
        Mean of the control cells that they changed from; None: those of the run that the truth
        does not use.
    """

    measured: Mean
    control: Mean | None = None


@dataclass
class Answers:
    """Predicted cells.

    Attributes
    ----------
    said
        CSR (n, n_genes): expression of the answers by the rank fit, 0 where not said.
    shift
        CSR (n, n_genes): change of each answer, see `answer_shifts`.
    spaces
        Name to float (n, n_dimensions): the predicted cells in each space.
    """

    said: sparse.csr_matrix
    shift: sparse.csr_matrix
    spaces: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return self.said.shape[0]

    def rows(self, chosen: np.ndarray) -> Answers:
        """Some of them."""
        spaces = {name: places[chosen] for name, places in self.spaces.items()}
        return Answers(self.said[chosen], self.shift[chosen], spaces)


@dataclass
class Condition:
    """Cells of one perturbation.

    Attributes
    ----------
    control
        Control cells, among them all that have an answer.
    measured
        Cells measured under this perturbation.
    answers, source
        Predicted cells, and the control cell of each, int (n_answers,).
    others, pairs
        Another control cell in place of an answer; int (n_others, 2): whose, and which it is.
    baselines
        Name to what it has seen.
    """

    control: Group
    measured: Group
    answers: Answers
    source: np.ndarray
    others: Answers
    pairs: np.ndarray
    baselines: Mapping[str, Baseline] = field(default_factory=dict)

    def halves(self, seed: int) -> Halves:
        """How its cells are halved: control cells first, measured cells after them."""
        measured = np.arange(len(self.control) + len(self.measured)) >= len(self.control)
        return Halves(measured, self.source, self.pairs, seed)

    def n_cells(self, predictor: str) -> int:
        """How many cells a figure is of: answers, or the cells that stand in their place."""
        counts = {"model": len(self.answers), "another_control": len(self.answers)}
        return {**counts, "measured_half": len(self.measured)}.get(predictor, len(self.control))

    def head(self, most: int) -> Condition:
        """With at most so many answers, measured and control cells."""
        kept = np.unique(self.source[:most])
        rest = np.setdiff1d(np.arange(len(self.control)), kept)
        rows = np.concatenate([kept, rest])[:most]
        place = np.full(len(self.control), -1)
        place[rows] = np.arange(rows.size)
        inside = np.flatnonzero((place[self.pairs] >= 0).all(axis=1))[: 4 * most]
        return Condition(
            self.control.rows(rows),
            self.measured.rows(np.arange(len(self.measured))[:most]),
            self.answers.rows(np.arange(len(self.answers))[:most]),
            place[self.source[:most]],
            self.others.rows(inside),
            place[self.pairs[inside]],
            self.baselines,
        )


def answer_shifts(
    answers: Sequence[np.ndarray],
    controls: Sequence[np.ndarray],
    n_genes: int,
    fit: Mapping[str, float],
) -> sparse.csr_matrix:
    """Change of each gene between a control sentence and its answer, through the rank fit.

    Parameters
    ----------
    answers, controls
        Columns of the genes, highest first.
    fit
        slope and intercept.

    Returns
    -------
    CSR float64 (n_answers, n_genes), differences of log10(1 + x).
    """
    none = np.empty(0, dtype=np.int64)
    rows, columns, values = [none], [none], [none]
    for row, (answer, control) in enumerate(zip(answers, controls, strict=True)):
        genes, predicted_rank, control_rank = compared_ranks(answer, control)
        rows.append(np.full(genes.size, row))
        columns.append(genes)
        values.append(fold_changes(predicted_rank, control_rank, fit) / LOG2_OF_LOG10)
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix(entries, shape=(len(answers), n_genes), dtype=np.float64)
