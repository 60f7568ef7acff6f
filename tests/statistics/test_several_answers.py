"""Several answers to a cell, in any number and order, at any temperature: every figure holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_run import GENES, N_GENES, Run, write_perturbed

from c2sflow.data.result_tables import read_evaluation
from c2sflow.evaluation.figures import draw_others
from c2sflow.evaluation.run import Settings, write_evaluation
from c2sflow.evaluation.sentences import novelty_figures

EFFECT = np.where(np.arange(N_GENES) % 6 == 0, 4.0, 1)
SETTINGS = Settings(measured_column="label", control="label == 'control'")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    run = Run(9)
    run.add("control", 24)
    run.add("A", 20, EFFECT)
    run.add("B", 20)
    run.answer("A", 0, run.cells(1)[0])
    return folder, run, run.write(folder)


def answered(run, sources, n_samples, temperature, seed):
    """Rows of answers; at temperature 0 the answers to a cell are all the same."""
    run.rng, run.rows = np.random.default_rng(seed), []
    for condition, effect in (("A", EFFECT), ("B", None)):
        for source in sources:
            cell = run.cells(1, effect)[0]
            for _ in range(n_samples):
                cell = run.cells(1, effect)[0] if temperature else cell
                run.answer(condition, source, cell, int(run.rng.integers(20, 90)))
    rows, run.rows = run.rows, []
    return rows


def evaluated(base, rows):
    folder, _, files = base
    write_perturbed(next(files.perturbed_dir.iterdir()), rows)
    write_evaluation(files, folder, SETTINGS)
    return read_evaluation(folder / "evaluation")


@settings(max_examples=4)
@given(
    sources=st.lists(st.integers(0, 23), min_size=4, max_size=12, unique=True),
    n_samples=st.integers(1, 4),
    temperature=st.sampled_from([0, 1]),
    shuffled=st.booleans(),
)
def test_every_figure_is_defined_and_in_its_bounds(base, sources, n_samples, temperature, shuffled):
    rows = answered(base[1], sources, n_samples, temperature, len(sources))
    if shuffled:
        rows = [rows[n] for n in np.random.default_rng(0).permutation(len(rows))]
    tables = evaluated(base, rows)
    table = tables["perturbation"]
    single = table[table["subject"] != ""]
    assert set(single["subject"]) == {"A", "B"}
    bounded = single[single["metric"].str.startswith(("pearson", "kendall", "direction", "gene"))]
    for column in ("value", "ci_low", "ci_high", "null"):
        assert bounded[column].dropna().between(-1, 1).all()
    inside = single.dropna(subset=["value", "ci_low"])
    assert (inside["ci_low"] <= inside["value"] + 1e-6).all()
    assert (inside["value"] <= inside["ci_high"] + 1e-6).all()
    model = single[(single["predictor"] == "model") & (single["metric"] == "pearson_change")]
    assert (model["n"] == len(sources) * n_samples).all()
    novelty = tables["trust"].query("metric == 'novelty'").set_index(["subject", "predictor"])
    # Never the cell itself, which would say nothing new.
    assert (novelty["value"].xs("another_control", level=1) > 0.15).all()


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 5)), min_size=1, max_size=8),
    st.integers(0),
)
def test_another_cell_is_never_the_cell_itself(counts, seed):
    sources = np.repeat(*np.array(counts).T)
    found = draw_others(sources, seed)
    if len(set(sources)) == 1:
        assert (found == -1).all()
    else:
        assert (sources[found] != sources).all()


@pytest.mark.parametrize("n_samples", [1, 2, 5])
def test_novelty_of_another_control_cell_does_not_depend_on_the_number_of_answers(n_samples):
    """With the next answer's cell in its place, half of the yardsticks were the cell itself."""
    run = Run(10)
    cells = np.argsort(-run.cells(40), axis=1, kind="stable")[:, :150]
    sources = np.repeat(np.arange(40), n_samples)
    answers = [cells[n][:60] for n in sources]  # copies, cut
    table = {
        figure.predictor: figure
        for figure in novelty_figures(answers, [cells[n] for n in sources], sources, "A", 0)
    }
    assert table["model"].value == 0
    pairs = [(a, b) for a in range(40) for b in range(40) if a != b]
    expected = np.mean([1 - len({*cells[a][:60]} & {*cells[b][:60]}) / 60 for a, b in pairs])
    assert table["another_control"].value == pytest.approx(expected, abs=0.03)
    assert table["another_control"].depth == table["model"].depth == 60


def test_the_same_answers_said_twice_give_the_same_figures(base):
    """Novelty, agreement with a cell's own truth, distances: a cell's copies add nothing."""
    run = base[1]
    rows = [row for row in answered(run, range(12), 1, 0, 3) if row["condition"] == "A"]
    tables = [evaluated(base, rows * n)["trust"] for n in (1, 2)]
    novelty = [t.query("metric == 'novelty' and predictor == 'model'").iloc[0] for t in tables]
    assert novelty[0]["value"] == pytest.approx(novelty[1]["value"], abs=1e-5)
    width = [row["ci_high"] - row["ci_low"] for row in novelty]
    assert width[1] == pytest.approx(width[0], rel=0.3)  # not narrower by a root of two
    assert set(GENES) >= set(rows[0]["c2s_sentence"].split())
