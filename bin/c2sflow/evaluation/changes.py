"""Predicted against measured change of expression, and the genes that change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy import sparse
from scipy.stats import t as student

from c2sflow.evaluation.conditions import Condition
from c2sflow.evaluation.figures import Figure, Key, summarise
from c2sflow.evaluation.halves import Halves, Rows, shares, thinned
from c2sflow.sentences.compare import agreement_of_rows, chance_overlap, top_genes

N_TOP = 20
SIGNIFICANT = 0.05


def changed_genes(
    expression: sparse.csr_matrix, measured: np.ndarray, control: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Genes that measured cells have more or less of than control cells.

    Welch's t-test (scanpy's `rank_genes_groups` with ``method="t-test"``), and Benjamini and
    Hochberg's adjustment over all genes.

    Parameters
    ----------
    expression
        CSR (n_cells, n_genes).
    measured, control
        int (n_rows, n_cells): how often each cell counts in each split, two cells or more.

    Returns
    -------
    The 20 genes with the largest absolute t, int (n_rows, 20 or n_genes), largest first; and those
    with an adjusted p below 0.05, bool (n_rows, n_genes).
    """
    squares = expression.multiply(expression).tocsr()
    means, variances, sizes = [], [], []
    for times in (measured, control):
        weights, n = shares(times), times.sum(axis=1, keepdims=True)
        mean = weights @ expression
        variance = np.maximum(weights @ squares - mean**2, 0) * n / np.maximum(n - 1, 1)
        means.append(mean)
        variances.append(variance / n)
        sizes.append(n)
    error = np.sqrt(variances[0] + variances[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(error > 1e-12, (means[0] - means[1]) / error, 0.0)
        freedom = error**4 / sum(
            v**2 / np.maximum(n - 1, 1) for v, n in zip(variances, sizes, strict=True)
        )
    scores = np.nan_to_num(scores)
    strength = -np.abs(scores)
    n_top = min(N_TOP, strength.shape[1])
    top = np.sort(np.argpartition(strength, n_top - 1, axis=1)[:, :n_top], axis=1)
    order = np.argsort(np.take_along_axis(strength, top, axis=1), axis=1, kind="stable")
    top = np.take_along_axis(top, order, axis=1)
    return top, significant(scores, freedom)


def significant(scores: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Whose p, adjusted over the genes of its row (Benjamini & Hochberg, 1995), is below 0.05.

    Parameters
    ----------
    scores, freedom
        float (n_rows, n_genes): t, and its degrees of freedom.
    """
    found = np.zeros(scores.shape, dtype=bool)
    n = scores.shape[1]
    # No p above 0.05 passes: none of a |t| that the normal distribution does not reject.
    for row, near in enumerate(np.abs(scores) > 1.95):
        genes = np.flatnonzero(near)
        p = 2 * student.sf(np.abs(scores[row, genes]), freedom[row, genes])
        order = np.argsort(p)
        passed = np.flatnonzero(p[order] * n / np.arange(1, genes.size + 1) < SIGNIFICANT)
        if passed.size:
            found[row, genes[order[: passed[-1] + 1]]] = True
    return found


DEPTHS = {"top_20": 20, "top_100": 100, "full": None}


def row_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row of two arrays; NaN where a row is constant."""
    one, other = (x - x.mean(axis=1, keepdims=True) for x in (one, other))
    spread = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    products = (one * other).sum(axis=1)
    return np.divide(products, spread, out=np.full(len(products), np.nan), where=spread > 1e-12)


def change_figures(subject: str, condition: Condition, halves: Halves) -> Iterator[Figure]:
    """Correlation, squared error and direction of changes; overlap and order of mean sentences."""
    found = _Changes(condition, halves)
    n_measured = len(condition.measured)
    for key, summary in summarise(halves, found).items():
        metric, _, predictor = key
        n = condition.n_cells(predictor)
        depth = chance = np.nan
        if metric in found.depths:
            depth = found.depths[metric]
            overlaps = metric.startswith("gene_overlap")
            chance = chance_overlap(depth, found.n_genes) if overlaps else 0.0
        yield summary.figure(key, subject, n, n_reference=n_measured, depth=depth, chance=chance)


class _Changes:
    """Means of both sides, for rows of splits, and what they agree in."""

    def __init__(self, condition: Condition, halves: Halves):
        every = [condition.control.expression, condition.measured.expression]
        every += [condition.answers.shift, condition.others.shift]
        seen = np.flatnonzero(sum(matrix.getnnz(axis=0) for matrix in every))
        self.n_genes = seen.size
        self._cells = sparse.vstack(every[:2], "csr")[:, seen]
        self._shift, self._expression = (
            m[:, seen] for m in (condition.answers.shift, condition.answers.expression)
        )
        self._others = condition.others.shift[:, seen], condition.others.expression[:, seen]
        self._baselines = {
            name: (
                one.measured.genes[seen],
                None if one.control is None else one.control.genes[seen],
            )
            for name, one in condition.baselines.items()
        }
        rows = halves.observed()
        self._choice = changed_genes(self._cells, rows.measured, rows.control)
        levels = [self._truth(rows)[1], *(level for _, level in self._guesses(rows).values())]
        counts = [(level > 0).sum(axis=1) for level in levels]
        depth = int(min((c[c > 0].min(initial=seen.size) for c in counts), default=0))
        # One depth for all predictors: a longer sentence would share more by its length alone.
        self.depths = {
            f"{metric}_{name}": min(depth, k or depth)
            for name, k in DEPTHS.items()
            for metric in ("gene_overlap", "kendall_tau")
        }

    def _truth(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Measured change, and mean of the measured cells: float64 (n_rows, n_genes)."""
        measured = shares(rows.measured) @ self._cells
        return measured - shares(rows.control) @ self._cells, measured

    def _guesses(self, rows: Rows) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The same of each predictor."""
        control = shares(rows.baseline) @ self._cells
        answers, others = shares(rows.answers), shares(rows.others)
        half = shares(rows.half) @ self._cells
        found = {
            "model": (answers @ self._shift, answers @ self._expression),
            "no_change": (np.zeros_like(control), control),
            "another_control": tuple(others @ matrix for matrix in self._others),
        }
        for name, (measured, own_control) in self._baselines.items():
            change = measured - (control if own_control is None else own_control)
            found[name] = change + np.zeros_like(control), control + change
        found["measured_half"] = half - shares(rows.half_control) @ self._cells, half
        return found

    def __call__(self, rows: Rows, splits: np.ndarray | None) -> Mapping[Key, np.ndarray]:
        if splits is None:
            top, significant = changed_genes(self._cells, rows.measured, rows.control)
        else:
            top, significant = (chosen[splits] for chosen in self._choice)
        change, level = self._truth(rows)
        found: dict[Key, np.ndarray] = {}
        for name, (guess, ranked) in self._guesses(rows).items():
            figures = {**_agreement(change, guess, top, significant), **self._order(level, ranked)}
            for metric, values in figures.items():
                space = "pseudobulk" if metric in self.depths else "expression"
                found[metric, space, name] = values
        return found

    def _order(self, level: np.ndarray, ranked: np.ndarray) -> dict[str, np.ndarray]:
        """Overlap and order of the genes that are highest in the mean."""
        deepest = max(self.depths.values(), default=0)
        rows = thinned(len(level))
        (one, n_one), (other, n_other) = (top_genes(x[rows], deepest) for x in (ranked, level))
        found = {name: np.full(len(level), np.nan) for name in self.depths}
        for name in DEPTHS:
            k = self.depths[f"gene_overlap_{name}"]
            depths = np.minimum(np.minimum(n_one, n_other), k)
            overlap, tau = agreement_of_rows(one[:, :k], other[:, :k], depths, self.n_genes)
            found[f"gene_overlap_{name}"][rows] = overlap
            found[f"kendall_tau_{name}"][rows] = tau
        return found


def _agreement(
    true: np.ndarray, guess: np.ndarray, top: np.ndarray, significant: np.ndarray
) -> dict[str, np.ndarray]:
    """Figures of the changes of all genes, of the top ones and of the significant ones."""
    found = {}
    same = np.sign(true) == np.sign(guess)
    highest = [np.take_along_axis(values, top, axis=1) for values in (true, guess)]
    for name, (one, other) in {"": (true, guess), "_top_20": highest}.items():
        found[f"pearson_change{name}"] = row_correlation(one, other)
        found[f"mse{name}"] = ((one - other) ** 2).mean(axis=1)
    unknown = np.isnan(true[:, 0] + guess[:, 0])
    found["direction_top_20"] = np.take_along_axis(same, top, axis=1).mean(axis=1)
    n = significant.sum(axis=1)
    found["direction_significant"] = np.divide(
        (same & significant).sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0
    )
    for name in ("direction_top_20", "direction_significant"):
        found[name] = np.where(unknown, np.nan, found[name])
    return found
