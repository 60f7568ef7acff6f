"""Predicted perturbations against measured cells, beside what any predictor must beat.

Cells are unpaired: the predicted cells of a perturbation are compared with the cells that were
measured under it, and the control cells are what both changed from. The predicted change of a
gene is that of `c2sflow.rank_shifts`: each answer against its own control sentence, both through
the rank fit. All values are log10(1 + x) at 10,000 a cell.

Baselines, each of which is the control cells moved by a constant:

no_change
    by nothing.
perturbation_mean
    by the mean measured change of the run's other perturbations.
training_mean
    by the measured change of the cells that the model was trained on: those of this perturbation,
    or, where there are none, of all.
measured_half
    no predictor, but what one could reach: half of the measured cells against the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from c2sflow.distances import MAX_CELLS, energy_replicates, scfid_replicates
from c2sflow.gene_agreement import gene_overlap, mean_order, rank_agreement
from c2sflow.rank_shifts import LOG2_OF_LOG10, compared_ranks, fold_changes
from c2sflow.resampling import Figure, bootstrap_interval, mean_interval, weights

N_TOP = 20  # differentially expressed genes
DEPTHS = {"top_20": 20, "top_100": 100, "full": None}
MIN_CELLS = 4  # measured, and control: each half holds two
SIGNIFICANT = 0.05
# Mean change in expression, float64 (n_genes,), and in each space.
Change = tuple[np.ndarray, Mapping[str, np.ndarray]]
# Groups that are drawn apart in the bootstrap.
PREDICTED, MEASURED, CONTROL = 0, 1, 2


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

    def half(self, number: int) -> Group:
        """Every second cell, from the first or the second on."""
        rows = slice(number, None, 2)
        return Group(self.expression[rows], {k: v[rows] for k, v in self.spaces.items()})


@dataclass
class Condition:
    """Predicted cells of one perturbation, and the measured ones.

    Attributes
    ----------
    said
        CSR (n_predicted, n_genes): expression of the answers by the rank fit, 0 where not said.
    shift
        CSR (n_predicted, n_genes): change of each answer, see `answer_shifts`.
    source
        The control cell of each answer.
    moved
        Name to float (n_predicted, n_dimensions): the predicted cells in each space.
    measured
        Cells measured under this perturbation.
    trained
        Mean change of its training cells; None without training cells.
    """

    said: sparse.csr_matrix
    shift: sparse.csr_matrix
    source: Group
    moved: Mapping[str, np.ndarray]
    measured: Group
    trained: Change | None = None


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
    rows, columns, values = [], [], []
    for row, (answer, control) in enumerate(zip(answers, controls, strict=True)):
        genes, predicted_rank, control_rank = compared_ranks(answer, control)
        rows.append(np.full(genes.size, row))
        columns.append(genes)
        values.append(fold_changes(predicted_rank, control_rank, fit) / LOG2_OF_LOG10)
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix(entries, shape=(len(answers), n_genes))


def mean_change(group: Group, control: Group) -> Change:
    """Mean of a group minus that of the control, in expression and in each space."""
    genes = _mean(group.expression) - _mean(control.expression)
    return genes, {k: group.spaces[k].mean(0) - control.spaces[k].mean(0) for k in group.spaces}


def _mean(matrix: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(matrix.mean(axis=0, dtype=np.float64)).ravel()


def changed_genes(measured: Group, control: Group) -> tuple[np.ndarray, np.ndarray]:
    """Genes that the perturbation changes, by scanpy's t-test of measured against control cells.

    Returns
    -------
    The 20 genes with the largest absolute score, and all with an adjusted p below 0.05; int.
    """
    both = AnnData(sparse.vstack([measured.expression, control.expression], "csr"))
    groups = ["measured"] * len(measured) + ["control"] * len(control)
    both.obs["group"] = np.array(groups, dtype=object)
    both.obs["group"] = both.obs["group"].astype("category")
    sc.tl.rank_genes_groups(
        both, "group", groups=["measured"], reference="control", method="t-test", rankby_abs=True
    )
    found = both.uns["rank_genes_groups"]
    genes = np.array(found["names"]["measured"], dtype=np.int64)
    p_values = np.asarray(found["pvals_adj"]["measured"])
    return genes[:N_TOP], genes[p_values < SIGNIFICANT]


def row_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row of two arrays; NaN where a row is constant."""
    one, other = (x - x.mean(axis=1, keepdims=True) for x in (one, other))
    spread = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    products = (one * other).sum(axis=1)
    return np.divide(products, spread, out=np.full(len(products), np.nan), where=spread > 1e-12)


# ------------------------------------------------------------------ one condition


def condition_figures(
    name: str, condition: Condition, control: Group, other_change: Change | None, seed: int
) -> Iterator[Figure]:
    """All figures of one condition: of the model, the baselines and the measured halves.

    Parameters
    ----------
    name
        Of the condition.
    control
        Control cells that the measured change is taken from.
    other_change
        Mean measured change of the other perturbations, as of `mean_change`; None if there are
        none.
    """
    baselines = {"no_change": None, "perturbation_mean": other_change}
    baselines["training_mean"] = condition.trained
    baselines = {k: v for k, v in baselines.items() if v is not None or k == "no_change"}
    yield from _change_figures(name, condition, control, baselines, seed)
    yield from _order_figures(name, condition, control, baselines, seed)
    yield from _distance_figures(name, condition, baselines, seed)


def _change_figures(
    subject: str, condition: Condition, control: Group, baselines: Mapping, seed: int
) -> Iterator[Figure]:
    """Correlation of the changes, squared error, and direction; all genes and the top ones."""
    measured = condition.measured
    top, significant = changed_genes(measured, control)
    seen = np.flatnonzero(
        measured.expression.getnnz(axis=0)
        + control.expression.getnnz(axis=0)
        + condition.shift.getnnz(axis=0)
    )
    place = np.full(control.expression.shape[1], -1)
    place[seen] = np.arange(seen.size)
    top, significant = place[top], place[significant]
    top, significant = top[top >= 0], significant[significant >= 0]

    def resampled(matrix: sparse.csr_matrix, *group: int) -> np.ndarray:
        return np.asarray(weights(matrix.shape[0], seed, *group) @ matrix[:, seen])

    start = resampled(control.expression, CONTROL)
    true = resampled(measured.expression, MEASURED) - start
    halves = [resampled(measured.half(n).expression, MEASURED, n) - start for n in (0, 1)]
    guesses = {"model": resampled(condition.shift, PREDICTED)}
    for name, change in baselines.items():
        if name == "perturbation_mean":  # from the same, resampled control
            guesses[name] = change[0][seen] + _mean(control.expression)[seen] - start
        else:
            guesses[name] = np.zeros((1, seen.size)) if change is None else change[0][None, seen]
    sets = {"": np.arange(seen.size), "_top_20": top}
    for name, guess in guesses.items():
        n = len(condition.source)
        yield from _compare(subject, name, true, guess, sets, significant, n, len(measured))
    n, half = len(measured) // 2, len(measured) - len(measured) // 2
    yield from _compare(subject, "measured_half", halves[0], halves[1], sets, significant, n, half)


def _compare(
    subject: str, predictor: str, true: np.ndarray, guess: np.ndarray, sets: Mapping,
    significant: np.ndarray, n: int, n_reference: int,
) -> Iterator[Figure]:  # fmt: skip
    """Figures of one predictor; arrays (resamples, genes), the first row as the cells are."""
    guess = np.broadcast_to(guess, true.shape)
    found: dict[str, tuple[np.ndarray, tuple[float, float]]] = {}
    for name, genes in sets.items():
        one, other = true[:, genes], guess[:, genes]
        found[f"pearson_change{name}"] = row_correlation(one, other), (-1, 1)
        found[f"mse{name}"] = ((one - other) ** 2).mean(axis=1), (0, np.inf)
    for name, genes in {"_top_20": sets["_top_20"], "_significant": significant}.items():
        if genes.size:
            same = np.sign(true[:, genes]) == np.sign(guess[:, genes])
            found[f"direction{name}"] = same.mean(axis=1), (0, 1)
    for metric, (values, bounds) in found.items():
        low, high = bootstrap_interval(values, bounds)
        yield Figure(metric, subject, predictor, float(values[0]), n, "expression", low, high,
                     n_reference)  # fmt: skip


def _order_figures(
    subject: str, condition: Condition, control: Group, baselines: Mapping, seed: int
) -> Iterator[Figure]:
    """Overlap and order of the pseudobulk sentences."""
    measured = condition.measured

    def orders(matrix: sparse.csr_matrix, *group: int) -> list[np.ndarray]:
        shares = weights(matrix.shape[0], seed, *group, n_resamples=100)
        return [mean_order(row) for row in np.asarray(shares @ matrix)]

    def moved(change: np.ndarray) -> list[np.ndarray]:
        shares = weights(len(control), seed, CONTROL, n_resamples=100)
        return [mean_order(row + change) for row in np.asarray(shares @ control.expression)]

    true = orders(measured.expression, MEASURED)
    n = len(condition.source)
    pairs = {"model": (orders(condition.said, PREDICTED), true, n, len(measured))}
    for name, change in baselines.items():
        made = moved(0.0 if change is None else change[0])
        pairs[name] = (made, true, len(control), len(measured))
    halves = [orders(measured.half(k).expression, MEASURED, k) for k in (0, 1)]
    sizes = len(measured) // 2, len(measured) - len(measured) // 2
    pairs["measured_half"] = (halves[1], halves[0], *sizes)
    for predictor, (made, wanted, n_made, n_wanted) in pairs.items():
        for depth, k in DEPTHS.items():
            for metric, agreement, bounds in (
                ("gene_overlap", gene_overlap, (0, 1)),
                ("kendall_tau", rank_agreement, (-1, 1)),
            ):
                values = np.array(
                    [agreement(a, b, k) for a, b in zip(made, wanted, strict=True)], dtype=float
                )
                low, high = bootstrap_interval(values, bounds)
                yield Figure(f"{metric}_{depth}", subject, predictor, float(values[0]),
                             n_made, "pseudobulk", low, high, n_wanted)  # fmt: skip


def _distance_figures(
    subject: str, condition: Condition, baselines: Mapping, seed: int
) -> Iterator[Figure]:
    """scFID and energy distance of predicted and measured cells, in each space."""
    measured = condition.measured
    halves = [measured.half(k).spaces for k in (0, 1)]
    for space, real in measured.spaces.items():
        made = {"model": condition.moved[space]}
        for name, change in baselines.items():
            made[name] = condition.source.spaces[space] + (
                0 if change is None else change[1][space]
            )
        pairs = {name: (cells, real) for name, cells in made.items()}
        pairs["measured_half"] = (halves[1][space], halves[0][space])
        for predictor, (one, other) in pairs.items():
            one, other = one[:MAX_CELLS], other[:MAX_CELLS]
            for metric, replicates in (
                ("scfid", scfid_replicates),
                ("energy_distance", energy_replicates),
            ):
                values = replicates(one, other, seed)
                low, high = bootstrap_interval(values, (0, np.inf))
                yield Figure(metric, subject, predictor, float(values[0]), len(one), space,
                             low, high, len(other))  # fmt: skip


# ------------------------------------------------------------------ cells that are paired


def paired_figures(
    subject: str, answers: Sequence[np.ndarray], truth: Sequence[np.ndarray], seed: int
) -> Iterator[Figure]:
    """Overlap and order of each answer with the sentence of the very cell that was measured.

    Where cells are perturbed with the label that they carry, the answer to a cell's prompt has a
    truth: that cell. Beside it another measured cell (the next one) in place of the answer.
    """
    made = {"model": answers}
    if len(truth) > 1:
        made["another_cell"] = [*truth[1:], *truth[:1]]
    measures: dict[str, Callable] = {"gene_overlap": gene_overlap, "kendall_tau": rank_agreement}
    for predictor, sentences in made.items():
        for depth, k in DEPTHS.items():
            for name, agreement in measures.items():
                pairs = zip(sentences, truth, strict=True)
                values = np.array([agreement(a, b, k) for a, b in pairs], dtype=float)
                values = values[np.isfinite(values)]
                if values.size:
                    bounds = (0, 1) if name == "gene_overlap" else (-1, 1)
                    ends = bootstrap_interval(weights(values.size, seed) @ values, bounds)
                    yield Figure(f"{name}_{depth}", subject, predictor, float(values.mean()),
                                 values.size, "cells", *ends, values.size)  # fmt: skip


# ------------------------------------------------------------------ all conditions


def mean_figures(figures: Sequence[Figure]) -> Iterator[Figure]:
    """Mean of each figure over the conditions, if there are several; n counts conditions."""
    groups: dict[tuple[str, str, str], list[float]] = {}
    for figure in figures:
        key = (figure.metric, figure.space, figure.predictor)
        groups.setdefault(key, []).append(figure.value)
    for (metric, space, predictor), values in groups.items():
        known = np.array([value for value in values if np.isfinite(value)])
        if known.size > 1:
            low, high = mean_interval(known)
            yield Figure(metric, "", predictor, float(known.mean()), known.size, space, low, high)
