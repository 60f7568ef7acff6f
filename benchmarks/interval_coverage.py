"""How often intervals hold the truth and tests find what is not there, at 5, 16 and 100 units.

Each interval and null of the report, simulated with the functions that make it. An interval of 95 %
should hold the truth in 0.95, a test at 5 % find nothing in 0.95 of the simulations.

python benchmarks/interval_coverage.py [--simulations 1000] [--evaluations 4]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd
from measure import ROOT, save
from scipy import sparse

sys.path.append(str(ROOT / "tests" / "statistics"))

SIZES = (5, 16, 100)
N_DONOR_CELLS = 50


def holds(ends: tuple, truth: float) -> float:
    """1 if the interval holds the truth, 0 if not, NaN if there is no interval."""
    low, high = ends
    return float(low <= truth <= high) if np.isfinite(low) else np.nan


def share(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Share of cells: cut answers, a label's recall."""
    from c2sflow.resampling import share_interval

    for p in (0.02, 0.2, 0.5):
        ends = share_interval(int(rng.binomial(n, p)), n)
        yield f"share of cells, truth {p} (Wilson)", holds(ends, p)


def mean_over_cells(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Mean of a value of each cell, such as a correlation."""
    from c2sflow.resampling import bootstrap_interval, weights

    values = rng.beta(5, 2, n)
    ends = bootstrap_interval(weights(n, int(rng.integers(2**31))) @ values, (0, 1), n)
    yield "mean over cells (bootstrap)", holds(ends, 5 / 7)


def mean_over_conditions(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Mean over conditions, of symmetric and of skewed values."""
    from c2sflow.resampling import mean_interval

    yield "mean over conditions (Student's t)", holds(mean_interval(rng.normal(0.4, 0.2, n)), 0.4)
    ends = mean_interval(rng.beta(5, 2, n), (0, 1))
    yield "mean over conditions, skewed (Student's t)", holds(ends, 5 / 7)


def labels(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Figures of annotation: three types, of 0.5, 0.3 and 0.2 of the cells, found in 0.8."""
    from c2sflow.accuracy import label_figures

    truth = rng.choice(list("abc"), n, p=[0.5, 0.3, 0.2])
    wrong = rng.choice(list("abc"), n)
    found = np.where(rng.random(n) < 0.7, truth, wrong)  # 0.8 in all
    for figure in label_figures(truth, found, "model", ""):
        if figure.metric in ("accuracy", "balanced_accuracy") and not figure.subject:
            yield f"{figure.metric} of labels", holds((figure.ci_low, figure.ci_high), 0.8)


def screens(n: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """A gene set's shift, between contexts, over cells; and over donors of 50 cells each."""
    from c2sflow.estimates import difference_of, mean_of

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
    from c2sflow.effects import signed_rank_test
    from c2sflow.estimates import mean_of

    shifts = np.round(rng.normal(0, 2, (n, 1)))
    p = signed_rank_test(sparse.csc_matrix(shifts))[0]
    yield "no effect: p of a gene over cells (signed ranks)", float(not p < 0.05)
    p = mean_of(rng.normal(0, 1, (1, n))).p_values()[0]
    yield "no effect: p of a gene over donors (Student's t)", float(not p < 0.05)


def agreement(seed: int, n: int, folder: Path) -> Iterator[tuple[str, float]]:
    """Agreement of predicted and measured changes: conditions that do nothing, and that do."""
    from simulated_run import N_GENES, Run

    from c2sflow.evaluation import Settings, write_evaluation
    from c2sflow.evaluation_tables import read_evaluation

    settings = Settings(measured_column="label", control="label == 'control'")
    effect = np.where(np.arange(N_GENES) % 12 == 0, 2.0, 1)
    for name, made in (("no effect", None), ("an effect", effect)):
        run = Run(1000 * seed + n)
        run.add("control", 100)
        for condition in map(str, range(8)):
            run.add(condition, n, made)
            for source in range(min(n, 50)):
                run.answer(condition, source, run.cells(1, made)[0])
        path = folder / f"{seed}, {n}, {name}"
        write_evaluation(run.write(path), path, settings)
        table = read_evaluation(path / "evaluation")["perturbation"]
        table = table[(table["subject"] != "") & (table["predictor"] == "model")]
        for row in table.to_dict("records"):
            if row["metric"] in ("pearson_change", "energy_distance", "gene_overlap_full"):
                where = f"{row['metric']}, {row['space']}" if row["space"] else row["metric"]
                yield f"{name}: {where}", pd.Series(row)


def agreement_shares(seeds: int, n: int) -> Iterator[tuple[str, float]]:
    """Of each figure: intervals that hold its mean over all runs; nulls that hold a no-effect."""
    rows: dict[str, list] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            for name, row in agreement(seed, n, Path(folder)):
                rows.setdefault(name, []).append(row)
    for name, made in rows.items():
        table = pd.DataFrame(made)
        truth = table["value"].mean()
        for low, high in table[["ci_low", "ci_high"]].to_numpy():
            yield f"{name} (bootstrap)", holds((low, high), truth)
        if name.startswith("no effect") and table["null_low"].notna().any():
            inside = table["value"].between(table["null_low"], table["null_high"])
            for one in inside:
                yield f"{name} (in the range of its null)", float(one)


@click.command(help=__doc__)
@click.option("--simulations", default=1000, show_default=True)
@click.option("--evaluations", default=4, show_default=True, help="Runs of 8 conditions.")
def main(simulations: int, evaluations: int) -> None:
    """Print and record the shares, a row for each interval or null."""
    found: dict[str, dict[str, float]] = {}
    for n in SIZES:
        shares: dict[str, list[float]] = {}
        rng = np.random.default_rng(n)
        for _ in range(simulations):
            for simulate in (
                share, mean_over_cells, mean_over_conditions, labels, screens, tests,
            ):  # fmt: skip
                for name, value in simulate(n, rng):
                    shares.setdefault(name, []).append(value)
        for name, value in agreement_shares(evaluations, n):
            shares.setdefault(name, []).append(value)
        for name, values in shares.items():
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
