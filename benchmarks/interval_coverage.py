"""How often intervals hold the truth and tests find what is not there, at 5, 16 and 100 units.

Each interval and null of the report, simulated with the functions that make it. An interval of 95 %
should hold the truth in 0.95, a test at 5 % find nothing in 0.95 of the simulations.

python benchmarks/interval_coverage.py [--simulations 1000] [--evaluations 8]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import click
import numpy as np
import pandas as pd
from measure import ROOT, save
from scipy import sparse

sys.path.append(str(ROOT / "tests" / "statistics"))

from c2sflow.evaluation.figures import Figure

SIZES = (5, 16, 100)
N_DONOR_CELLS = 50


def holds(ends: tuple, truth: float) -> float:
    """1 if the interval holds the truth, 0 if not, NaN if there is no interval."""
    low, high = ends
    return float(low <= truth <= high) if np.isfinite(low) else np.nan


def share(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Share of cells: cut answers, a label's recall."""
    from c2sflow.evaluation.figures import share_interval

    for p in (0.02, 0.2, 0.5):
        ends = share_interval(int(rng.binomial(n, p)), n)
        yield f"share of cells, truth {p} (Wilson)", holds(ends, p)


def mean_over_cells(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Mean of a value of each cell, such as a correlation."""
    from c2sflow.evaluation.figures import bootstrap_interval, weights

    values = rng.beta(5, 2, n)
    ends = bootstrap_interval(weights(n, int(rng.integers(2**31))) @ values, n, (0, 1))
    yield "mean over cells (bootstrap)", holds(ends, 5 / 7)


def mean_over_conditions(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Mean over conditions, of symmetric and of skewed values."""
    from c2sflow.evaluation.figures import mean_interval

    yield "mean over conditions (Student's t)", holds(mean_interval(rng.normal(0.4, 0.2, n)), 0.4)
    ends = mean_interval(rng.beta(5, 2, n), (0, 1))
    yield "mean over conditions, skewed (Student's t)", holds(ends, 5 / 7)


def labels(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Figures of annotation: three types, of 0.5, 0.3 and 0.2 of the cells.

    Types that no cell is of are none that a mean over the types is of.
    """
    from c2sflow.evaluation.accuracy import label_figures

    shares = np.array([0.5, 0.3, 0.2])
    for name, recall in (
        ("alike (0.8)", np.full(3, 0.8)), ("unequally (0.95, 0.8, 0.5)", np.array([0.95, 0.8, 0.5]))
    ):  # fmt: skip
        truth = rng.choice(3, n, p=shares)
        wrong = (truth + rng.integers(1, 3, n)) % 3
        found = np.where(rng.random(n) < recall[truth], truth, wrong)
        seen = np.unique(truth)
        counts = shares[:, None] * np.where(
            np.eye(3) == 1, recall[:, None], (1 - recall[:, None]) / 2
        )
        f1 = 2 * np.diag(counts) / (counts.sum(axis=0) + shares)
        expected = {"accuracy": shares @ recall, "balanced_accuracy": recall[seen].mean()}
        if len(seen) == 3:
            expected["f1_macro"] = f1.mean()
        for figure in label_figures(truth, found, "model", ""):
            if figure.metric in expected and not figure.subject:
                ends = figure.ci_low, figure.ci_high
                yield f"{figure.metric}, labels found {name}", holds(ends, expected[figure.metric])


def folds(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float | Figure]]:
    """Figures of classifiers in cross-validation, and the gain of one view over an equal one."""
    from sklearn.neighbors import KNeighborsClassifier

    from c2sflow.evaluation.accuracy import (
        N_FOLDS,
        View,
        gain_figures,
        held_out_labels,
        label_figures,
    )

    names = np.arange(n) % 2
    if n < 2 * N_FOLDS:
        return
    found = []
    for seed in range(2):
        cells = rng.normal(size=(n, 2)) + 1.3 * names[:, None]
        views = {"": View(cells, {"knn": KNeighborsClassifier(5)})}
        found.append(held_out_labels(views, names, seed)["knn", ""])
    for figure in label_figures(names, found[0], "knn", ""):
        if not figure.subject:
            yield f"{figure.metric}, cross-validated", figure
    for figure in gain_figures(names, *found, "knn", ""):
        ends = figure.ci_low, figure.ci_high
        yield f"no gain: {figure.metric}, cross-validated", holds(ends, 0)


def answers(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Words of answers that are no gene or repeat one, which come in few of the answers."""
    from c2sflow.evaluation.sentences import answer_figures

    words = rng.integers(60, 100, n)
    invalid = rng.binomial(words, rng.beta(0.5, 9.5, n))
    repeated = np.minimum(rng.binomial(words, rng.beta(0.2, 9.8, n)), words - invalid)
    table = pd.DataFrame(
        {
            "c2s_n_predicted_genes": words - invalid - repeated, "c2s_invalid_genes": invalid,
            "c2s_duplicate_genes": repeated, "c2s_finish_reason": "eos",
        }
    )  # fmt: skip
    figures = answer_figures(table, "", int(rng.integers(2**31)))
    for figure, truth in zip(figures, (0.05, 0.02), strict=False):
        yield f"{figure.metric}, truth {truth}", holds((figure.ci_low, figure.ci_high), truth)


def novelty(n: int, rng: np.random.Generator) -> Iterator[tuple[str, Figure]]:
    """Two answers to each of n cells, which differ in how far they are from their answers."""
    from c2sflow.evaluation.sentences import novelty_figures

    genes = np.arange(60)
    controls = [np.argsort(genes + rng.normal(0, 15, 60)) for _ in range(n)]
    spread = rng.uniform(2, 30, n)
    said = [
        np.argsort(np.argsort(cell) + rng.normal(0, own, 60))[:30]
        for _ in range(2)
        for cell, own in zip(controls, spread, strict=True)
    ]
    for figure in novelty_figures(
        said, controls * 2, list(range(n)) * 2, "", int(rng.integers(99))
    ):
        yield f"novelty, two answers to a cell, {figure.predictor}", figure


def texts(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """BERTScore of n sentences, of two answers to each of n cells, and of labels said."""
    from c2sflow.evaluation.text_tables import score_interval

    scores = pd.Series(0.7 + 0.2 * rng.beta(5, 2, n))
    yield "BERTScore of sentences", holds(score_interval(scores), 0.7 + 1 / 7)
    twice = pd.concat([scores + rng.normal(0, 0.01, n) for _ in range(2)])
    yield "BERTScore, two answers to a cell", holds(score_interval(twice), 0.7 + 1 / 7)
    said = pd.Series(rng.choice([1, 0.9, 0.75], n, p=[0.8, 0.15, 0.05]))
    yield "BERTScore of cell types, 0.8 right", holds(score_interval(said), 0.9725)


def reconstruction(n: int, rng: np.random.Generator) -> Iterator[tuple[str, Figure]]:
    """Expression by rank, of whole sentences and of their first 20 genes."""
    from c2sflow.evaluation.sentences import figures_at_depth, reconstruction_figures

    depth = rng.lognormal(0, 0.3, (n, 1))
    counts = rng.poisson(depth * 30 / np.arange(1, 81), (n, 80))
    matrix = np.log10(1 + 100 * counts / counts.sum(axis=1, keepdims=True))
    sentences = [np.argsort(-row, kind="stable")[: (row > 0).sum()] for row in matrix]
    fit = {"slope": -0.8, "intercept": 1.5}
    given = sparse.csr_matrix(matrix), sentences, ["s"] * n, fit
    figures = reconstruction_figures(*given, seed=0)
    figures += figures_at_depth(*given, np.full(9, 20), seed=0)
    for figure in figures:
        if figure.metric != "median_total":
            yield f"{figure.metric} of the reconstruction, {figure.predictor}", figure


def screens(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """A gene set's shift, between contexts, over cells; and over donors of 50 cells each."""
    from c2sflow.common.statistics import difference_of, mean_of

    one, other = rng.normal(0.3, 1, (1, n)), rng.normal(0, 1, (1, n))
    ends = difference_of(one, other).interval()
    yield "shift between contexts, independent cells (Welch's t)", holds(np.ravel(ends), 0.3)
    yield (
        "shift within a context, independent cells (Student's t)",
        holds(np.ravel(mean_of(one).interval()), 0.3),
    )
    for deviation in (0.2, 0.5):
        sides = [
            rng.normal(0, deviation, n) + rng.normal(0, 1, (N_DONOR_CELLS, n)).mean(axis=0)
            for _ in range(2)
        ]
        found = difference_of(*(side[None] for side in sides)).interval()
        name = f"shift between contexts, donors that deviate by {deviation} (Welch's t)"
        yield name, holds(np.ravel(found), 0)


def tests(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Tests of nothing: effects by gene over cells, as ranks with many ties are."""
    from c2sflow.common.statistics import mean_of
    from c2sflow.perturbation.effects import signed_rank_test

    shifts = np.round(rng.normal(0, 2, (n, 1)))
    p = signed_rank_test(sparse.csc_matrix(shifts))[0]
    yield "no effect: p of a gene over cells (signed ranks)", float(not p < 0.05)
    p = mean_of(rng.normal(0, 1, (1, n))).p_values()[0]
    yield "no effect: p of a gene over donors (Student's t)", float(not p < 0.05)


def generated_overlaps(n: int, rng: np.random.Generator) -> Iterator[tuple[str, Figure]]:
    """Overlap of generated with real cells, as many of both, and of real cells in their place."""
    from simulated_run import N_GENES, Run

    from c2sflow.evaluation.generation import Kind, Rival, overlap_figures

    run, genes = Run(int(rng.integers(2**31))), np.arange(N_GENES)

    def kind(effect: np.ndarray) -> Kind:
        counts = run.cells(n, effect)
        sentences = [np.argsort(-cell, kind="stable")[:80] for cell in counts]
        return Kind(sentences, {}, sparse.csr_matrix(counts.shape))

    effects = np.where(genes % 7 == 0, 1.5, 1), np.ones(N_GENES), np.where(genes % 10 == 0, 3, 1)
    made, real, others = map(kind, effects)
    for figure in overlap_figures("", made, real, Rival(others, 0.5), int(rng.integers(99))):
        yield f"{figure.metric} of generated cells, {figure.predictor}", figure


CHEAP = share, mean_over_cells, mean_over_conditions, labels, answers, texts, screens, tests
SLOW = novelty, reconstruction, folds, generated_overlaps  # a fifth of the simulations


def shares(simulate: Callable, n_simulations: int, n: int) -> Iterator[tuple[str, list[float]]]:
    """Whether the truth is held: where it is not given, it is the mean of the figure."""
    rng, rows = np.random.default_rng(n), {}
    for _ in range(n_simulations):
        for name, found in simulate(n, rng):
            rows.setdefault(name, []).append(found)
    for name, found in rows.items():
        if isinstance(found[0], float):
            yield name, found
        else:
            truth = np.nanmean([figure.value for figure in found])
            yield name, [holds((figure.ci_low, figure.ci_high), truth) for figure in found]


@click.command(help=__doc__)
@click.option("--simulations", default=1000, show_default=True)
@click.option("--evaluations", default=8, show_default=True, help="Runs of 8 conditions, 2 types.")
def main(simulations: int, evaluations: int) -> None:
    """Print and record the shares, a row for each interval or null."""
    from interval_evaluations import evaluation_shares

    found: dict[str, dict[str, float | None]] = {}
    for n in SIZES:
        every: dict[str, list[float]] = {}
        for simulate in CHEAP:
            every |= shares(simulate, simulations, n)
        for simulate in SLOW:
            every |= shares(simulate, max(1, simulations // 5), n)
        for name, value in evaluation_shares(evaluations, n) if evaluations else ():
            every.setdefault(name, []).append(value)
        for name, values in every.items():
            known = np.array(values)[np.isfinite(values)]
            found.setdefault(name, {})[str(n)] = float(known.mean()) if known.size else None
    table = pd.DataFrame(found).T
    print(table.round(3).to_string())
    save(
        "interval_coverage",
        {"simulations": simulations, "evaluations": evaluations, "shares": found},
    )


if __name__ == "__main__":
    main()
