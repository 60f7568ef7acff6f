"""Predicted against measured change by gene: scipy's figures, and where nothing happens."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_run import GENES, N_GENES, Run, logs

from c2sflow.evaluation.run import Settings, write_evaluation
from c2sflow.evaluation.run_reader import RunCells

NO_OP, DRUG = "no-op: control", "drug"
EFFECT = np.where(np.arange(N_GENES) % 8 == 0, 3.0, 1.0)
METRIC = "pearson_log2_fold_change"


def answered(run, sources, say, no_op=True):
    """A prediction for each source, and an answer to its no-op; `say` gives the counts of both."""
    for source in sources:
        for condition in (DRUG, NO_OP)[: 1 + no_op]:
            run.answer(condition, source, say(source, condition))
            run.rows[-1]["c2s_no_op"] = condition == NO_OP
            run.rows[-1]["c2s_compared_with"] = NO_OP if no_op and condition == DRUG else None


def evaluate(run, folder, **settings):
    files = run.write(folder)
    asked = {"measured_column": "label", "control": "label == 'control'", **settings}
    write_evaluation(files, folder, Settings(**asked))
    tables = [
        pd.read_csv(folder / f"evaluation/{n}.tsv", sep="\t") for n in ("genes", "perturbation")
    ]
    figures = tables[1][tables[1]["metric"] == METRIC].set_index(["subject", "predictor"])
    return files, tables[0].set_index("gene"), figures


def ranks(words, depth):
    place = {word: n + 1 for n, word in enumerate(words[:depth])}
    return pd.Series(place).reindex(GENES).fillna(depth + 1)


def fold(said, compared, fit):
    """log2 fold change of every gene between two sentences, anew."""
    depth = min(len(said), len(compared))
    one, other = (
        np.maximum(fit["intercept"] + fit["slope"] * np.log10(ranks(words, depth)), 0)
        for words in (said, compared)
    )
    return (one - other) * np.log2(10)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """20 of 60 control cells have answers, so that the others are what is compared with."""
    run = Run(3)
    run.add("control", 60)
    run.add(DRUG, 30, EFFECT)
    counts = np.concatenate(run.blocks)
    effects = {DRUG: EFFECT, NO_OP: 1.0}
    answered(run, range(20), lambda n, what: counts[n] * effects[what] + run.rng.random(N_GENES))
    folder = tmp_path_factory.mktemp("genes")
    return run, counts, *evaluate(run, folder)


def test_both_changes_and_their_intervals_are_those_of_scipy(known):
    run, counts, files, table, _ = known
    values = pd.DataFrame(logs(counts) / np.log(2), columns=GENES)
    control, measured = values.iloc[20:60], values.iloc[60:]
    welch = stats.ttest_ind(measured, control, equal_var=False)
    change = pd.Series(measured.mean() - control.mean(), GENES)
    ends = welch.confidence_interval()
    fit = RunCells(files).fit
    said = {(row["condition"], row["source_cell"]): row["c2s_sentence"].split() for row in run.rows}
    folds = pd.DataFrame(
        [fold(said[DRUG, f"cell{n}"], said[NO_OP, f"cell{n}"], fit) for n in range(20)]
    )
    student = stats.ttest_1samp(folds, 0).confidence_interval()
    # Of a gene that no answer reaches, none shows how much others would change.
    still = (folds == folds.iloc[0]).all()
    student = [np.where(still, np.nan, end) for end in student]
    assert still.any()
    for names, found in (
        (("log2_fold_change", "ci_low", "ci_high"), ("measured", change, ends)),
        (("log2_fold_change", "ci_low", "ci_high"), ("predicted", folds.mean(), student)),
    ):
        kind, value, interval = found
        expected = pd.DataFrame(dict(zip(names, (value, *interval), strict=True)), index=GENES)
        own = table[[f"{kind}_{name}" for name in names]].set_axis(names, axis=1)
        pd.testing.assert_frame_equal(
            own.loc[GENES], expected, rtol=1e-3, atol=1e-5, check_names=False
        )
    assert (table[["n_measured", "n_control", "n_predicted"]] == [30, 40, 20]).all(axis=None)
    assert set(table["unit"]) == {"cells"}
    assert set(table["compared_with"]) == {NO_OP}
    strongest = table["measured_log2_fold_change"].abs()
    assert strongest.is_monotonic_decreasing  # the best-known genes stand first


def test_the_correlation_is_that_of_the_table(known):
    *_, table, figures = known
    columns = table["measured_log2_fold_change"], table["predicted_log2_fold_change"]
    found = figures.loc[(DRUG, "model")]
    assert found["value"] == pytest.approx(stats.pearsonr(*columns).statistic, abs=1e-4)
    assert found["value"] > 0.6
    assert found["ci_low"] < found["value"] < found["ci_high"]
    assert found["ci_low"] > found["null_high"]
    assert abs(found["null"]) < 0.1
    assert found["n"] == 20
    assert found["n_reference"] == 30
    copied = figures.loc[(DRUG, "another_control")]
    assert copied["ci_low"] < copied["null_high"]


def test_donors_are_the_unit(tmp_path):
    """Four donors on both sides: the change within each; and what scipy makes of their means."""
    run = Run(5)
    shift = np.random.default_rng(0).lognormal(0, 0.5, (4, N_GENES))
    for donor in shift:
        run.add("control", 12, donor)
        run.add(DRUG, 8, donor * EFFECT)
    counts, labels = np.concatenate(run.blocks), np.array(run.labels)
    donors = np.repeat([f"d{n}" for n in range(4)], 20)
    chosen = np.concatenate([np.flatnonzero(labels == "control")[n * 12 :][:4] for n in range(4)])
    answered(run, chosen, lambda n, what: counts[n] * (EFFECT if what == DRUG else 1))
    folder = tmp_path / "run"
    write = run.write

    def with_donors(where):
        files = write(where)
        import h5py
        from anndata.io import read_elem, write_elem

        with h5py.File(where / "qc/s.h5ad", "r+") as file:
            obs = read_elem(file["obs"]).assign(donor=donors)
            del file["obs"]
            write_elem(file, "obs", obs)
        return files

    run.write = with_donors
    _, table, _ = evaluate(run, folder, replicate_column="donor")
    values = pd.DataFrame(logs(counts) / np.log(2), columns=GENES)
    unanswered = np.setdiff1d(np.flatnonzero(labels == "control"), chosen)
    sides = [
        values.loc[rows].groupby(donors[rows]).mean()
        for rows in (np.flatnonzero(labels == DRUG), unanswered)
    ]
    within = sides[0] - sides[1]
    interval = stats.ttest_1samp(within, 0).confidence_interval()
    own = table.loc[GENES]
    np.testing.assert_allclose(
        own["measured_log2_fold_change"], within.mean(), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(own["measured_ci_low"], interval.low, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(own["measured_ci_high"], interval.high, rtol=1e-3, atol=1e-3)
    assert set(table["unit"]) == {"donor"}
    replicates = table[["n_measured_replicates", "n_predicted_replicates"]]
    assert (replicates == 4).all(axis=None)


@pytest.mark.parametrize("no_op", [True, False])
def test_without_an_effect_the_correlation_is_about_0(tmp_path, no_op):
    """A model that answers with any cell of the same kind: what is left of its control cell is the
    noise, which a measured change against the same cells has as well.
    """
    correlations, shared, beyond = [], [], 0
    for seed in range(5):
        run = Run(seed)
        run.add("control", 40)
        run.add(DRUG, 40)
        counts = np.concatenate(run.blocks)
        answered(
            run,
            range(40),
            lambda n, what, counts=counts, run=run: run.cells(1)[0] if what == DRUG else counts[n],
            no_op,
        )
        files, table, figures = evaluate(run, tmp_path / str(seed))
        found = figures.loc[(DRUG, "model")]
        columns = table["measured_log2_fold_change"], table["predicted_log2_fold_change"]
        assert found["value"] == pytest.approx(stats.pearsonr(*columns).statistic, abs=1e-4)
        correlations.append(found["value"])
        beyond += not found["null_low"] <= found["value"] <= found["null_high"]
        values, fit = pd.DataFrame(logs(counts) / np.log(2), columns=GENES), RunCells(files).fit
        true = values.iloc[40:].mean() - values.iloc[:40].mean()
        said = {(r["condition"], r["source_cell"]): r["c2s_sentence"].split() for r in run.rows}
        own = [
            GENES[np.argsort(-counts[n], kind="stable")][: np.count_nonzero(counts[n])].tolist()
            for n in range(40)
        ]
        folds = [fold(said[DRUG, f"cell{n}"], own[n], fit) for n in range(40)]
        shared.append(stats.pearsonr(true, np.mean(folds, axis=0)).statistic)
    assert np.mean(shared) > 0.2  # what it would be
    assert abs(np.mean(correlations)) < 0.1
    assert beyond <= 1
