"""The cells of one predicted perturbation, read from a run's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.evaluation.accuracy import fit_components
from c2sflow.evaluation.figures import draw_others
from c2sflow.evaluation.halves import Halves
from c2sflow.evaluation.run_reader import RunCells
from c2sflow.sentences.compare import LOG2_OF_LOG10, compared_ranks, fold_changes
from c2sflow.sentences.rank_fit import expression_from_ranks


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
    expression
        CSR (n, n_genes): expression of the answers by the rank fit, 0 for genes not in the answer.
    shift
        CSR (n, n_genes): change of each answer, see `answer_shifts`.
    spaces
        Name to float (n, n_dimensions): the predicted cells in each space.
    """

    expression: sparse.csr_matrix
    shift: sparse.csr_matrix
    spaces: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return self.expression.shape[0]

    def rows(self, chosen: np.ndarray) -> Answers:
        """Some of them."""
        spaces = {name: places[chosen] for name, places in self.spaces.items()}
        return Answers(self.expression[chosen], self.shift[chosen], spaces)


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
        """How many cells a figure is of: answers, or the cells that replace them."""
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


MIN_MEAN = 4  # cells of a mean that a baseline repeats
N_OTHERS = 4  # other control cells that replace an answer
MOST_OTHERS = 1000  # answers that others replace


class ConditionCells:
    """Measured and control cells in expression, in its principal components, and in X_c2s.

    Parameters
    ----------
    cells
        Of the run.
    groups, trained
        Rows of the measured cells by label, and of the cells that the model was trained on.
    control
        The label of the control cells.
    seed
        Decides the components and the other control cells.
    """

    def __init__(
        self, cells: RunCells, groups: Mapping[str, np.ndarray], trained: Mapping[str, np.ndarray],
        control: str, seed: int,
    ):  # fmt: skip
        self._cells, self._seed, self._control = cells, seed, control
        blocks = [cells.expression(rows) for rows in groups.values()]
        self._components = fit_components(sparse.vstack(blocks, "csr"), seed)
        self._control_rows = self._known(groups[control])
        self._groups = {name: self._group(self._known(rows)) for name, rows in groups.items()}
        self._means = _means(self._groups)
        self._trained = _means({n: self._group(self._known(r)) for n, r in trained.items()})

    def _known(self, rows: np.ndarray) -> np.ndarray:
        """Those that have an embedding."""
        return rows[np.isfinite(self._cells.obsm("X_c2s", rows)).all(axis=1)]

    def _group(self, rows: np.ndarray) -> Group:
        expression, vectors = self._cells.expression(rows), self._cells.obsm("X_c2s", rows)
        return Group(expression, self._spaces(expression, vectors))

    def _spaces(self, expression: sparse.csr_matrix, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Coordinates of cells with this expression and these embeddings."""
        if not expression.shape[0]:
            places = np.empty((0, self._components.n_components_))
        else:
            places = self._components.transform(expression.tocsr())
        return {"expression_pcs": places, "X_c2s": vectors}

    def condition(self, answers: pd.DataFrame, label: str) -> Condition:
        """Cells of one condition; without answers that hold no gene or have no embedding.

        Parameters
        ----------
        answers
            Rows of `RunCells.answers`, in drawn order.
        label
            What its measured cells are labelled.
        """
        sentences, vectors = self._cells.answer_sentences(answers)
        rows = answers["source"].to_numpy()
        known = np.isfinite(vectors).all(axis=1) & np.isin(rows, self._known(np.unique(rows)))
        known &= np.array([genes.size > 0 for genes in sentences], dtype=bool)
        sentences = [genes for genes, kept in zip(sentences, known, strict=True) if kept]
        rows, vectors = rows[known], vectors[known]
        extra = np.setdiff1d(rows, self._control_rows)
        pool = np.concatenate([self._control_rows, extra])
        control = _joined(self._groups[self._control], self._group(extra))
        place = pd.Series(np.arange(pool.size), index=pool)
        source = place[rows].to_numpy(dtype=int)
        own = self._cells.sentences(rows)
        whose, heads, pairs = self._others(sentences, own, source)
        return Condition(
            control,
            self._groups[label],
            self._answers(sentences, own, control, source, vectors),
            source,
            self._answers(
                heads, [own[n] for n in whose], control, pairs[:, 0],
                control.spaces["X_c2s"][pairs[:, 1]],
            ),
            pairs,
            self._baselines(label),
        )  # fmt: skip

    def _others(
        self, sentences: Sequence[np.ndarray], own: Sequence[np.ndarray], source: np.ndarray
    ) -> tuple[list[int], list[np.ndarray], np.ndarray]:
        """Answers, heads of other control sentences as long as they are, and the cells of both."""
        whose, heads, pairs = [], [], [np.empty((0, 2), dtype=int)]
        for number in range(N_OTHERS):
            others = draw_others(source[:MOST_OTHERS], self._seed + number)
            for n, other in enumerate(others):
                if other >= 0 and own[other].size:
                    whose.append(n)
                    heads.append(own[other][: sentences[n].size])
                    pairs.append(np.array([[source[n], source[other]]]))
        return whose, heads, np.concatenate(pairs)

    def _answers(
        self, sentences: Sequence[np.ndarray], own: Sequence[np.ndarray], control: Group,
        source: np.ndarray, vectors: np.ndarray,
    ) -> Answers:  # fmt: skip
        fit, n_genes = self._cells.fit, len(self._cells.genes)
        shift = answer_shifts(sentences, own, n_genes, fit)
        by_rank = expression_from_ranks(sentences, n_genes, fit["slope"], fit["intercept"])
        moved = control.expression[source] + shift
        return Answers(by_rank, shift, self._spaces(moved, vectors))

    def _baselines(self, label: str) -> dict[str, Baseline]:
        found = {}
        others = [m for name, m in self._means.items() if name not in (label, self._control)]
        if others:
            found["perturbation_mean"] = Baseline(mean_of(others))
        trained = {name: m for name, m in self._trained.items() if name != self._control}
        if trained:
            seen = trained[label] if label in trained else mean_of(list(trained.values()))
            found["training_mean"] = Baseline(seen, self._trained.get(self._control))
        return found


def _means(groups: Mapping[str, Group]) -> dict:
    """Mean of every group that has cells enough."""
    return {name: group.mean() for name, group in groups.items() if len(group) >= MIN_MEAN}


def _joined(one: Group, other: Group) -> Group:
    spaces = {k: np.concatenate([v, other.spaces[k]]) for k, v in one.spaces.items() if len(other)}
    if not len(other):
        return one
    return Group(sparse.vstack([one.expression, other.expression], "csr"), spaces)
