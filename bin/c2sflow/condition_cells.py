"""Reads the cells of predicted perturbations from a run's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.accuracy import fit_components
from c2sflow.conditions import Answers, Baseline, Condition, Group, answer_shifts, mean_of
from c2sflow.reconstruction import expression_from_ranks
from c2sflow.resampling import another
from c2sflow.run_cells import RunCells

MIN_MEAN = 4  # cells of a mean that a baseline repeats
N_OTHERS = 4  # other control cells that stand in the place of an answer
MOST_OTHERS = 1000  # answers in whose place others stand


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
        """Where cells with this expression and these embeddings lie."""
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
        said, vectors = self._cells.said(answers)
        rows = answers["source"].to_numpy()
        known = np.isfinite(vectors).all(axis=1) & np.isin(rows, self._known(np.unique(rows)))
        known &= np.array([genes.size > 0 for genes in said], dtype=bool)
        said = [genes for genes, kept in zip(said, known, strict=True) if kept]
        rows, vectors = rows[known], vectors[known]
        extra = np.setdiff1d(rows, self._control_rows)
        pool = np.concatenate([self._control_rows, extra])
        control = _joined(self._groups[self._control], self._group(extra))
        place = pd.Series(np.arange(pool.size), index=pool)
        source = place[rows].to_numpy(dtype=int)
        own = self._cells.sentences(rows)
        whose, heads, pairs = self._others(said, own, source)
        return Condition(
            control,
            self._groups[label],
            self._answers(said, own, control, source, vectors),
            source,
            self._answers(
                heads, [own[n] for n in whose], control, pairs[:, 0],
                control.spaces["X_c2s"][pairs[:, 1]],
            ),
            pairs,
            self._baselines(label),
        )  # fmt: skip

    def _others(
        self, said: Sequence[np.ndarray], own: Sequence[np.ndarray], source: np.ndarray
    ) -> tuple[list[int], list[np.ndarray], np.ndarray]:
        """Answers, heads of other control sentences as long as they are, and the cells of both."""
        whose, heads, pairs = [], [], [np.empty((0, 2), dtype=int)]
        for number in range(N_OTHERS):
            others = another(source[:MOST_OTHERS], self._seed + number)
            for n, other in enumerate(others):
                if other >= 0 and own[other].size:
                    whose.append(n)
                    heads.append(own[other][: said[n].size])
                    pairs.append([[source[n], source[other]]])
        return whose, heads, np.concatenate(pairs)

    def _answers(
        self, said: Sequence[np.ndarray], own: Sequence[np.ndarray], control: Group,
        source: np.ndarray, vectors: np.ndarray,
    ) -> Answers:  # fmt: skip
        fit, n_genes = self._cells.fit, len(self._cells.genes)
        shift = answer_shifts(said, own, n_genes, fit)
        spoken = expression_from_ranks(said, n_genes, fit["slope"], fit["intercept"])
        moved = control.expression[source] + shift
        return Answers(spoken, shift, self._spaces(moved, vectors))

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
