"""Agreement of predicted and measured changes: none where nothing happens, much where it is known.

Simulated cells, whole evaluations: what each figure claims is true of cells whose effect is known.
"""

import numpy as np
import pytest
from simulated_run import GENES, N_GENES, Run

from c2sflow.data.result_tables import read_evaluation
from c2sflow.evaluation.run import Settings, write_evaluation

SETTINGS = Settings(measured_column="label", control="label == 'control'")
EFFECT = np.where(np.arange(N_GENES) % 12 == 0, 4.0, np.where(np.arange(N_GENES) % 12 == 1, 0.2, 1))


def figures(run, folder, settings=SETTINGS):
    write_evaluation(run.write(folder), folder, settings)
    return read_evaluation(folder / "evaluation")


def values(table, metric, space=None, column="value"):
    """Predictor to the mean over conditions."""
    found = table[(table["metric"] == metric) & (table["subject"] != "")]
    found = found if space is None else found[found["space"] == space]
    return found.groupby("predictor")[column].mean()


@pytest.fixture(scope="module")
def no_effect(tmp_path_factory):
    """Six perturbations that do nothing, and a model that answers with any cell of the type."""
    run = Run(1)
    run.add("control", 50)
    for name in map(str, range(6)):
        run.add(name, 24)
    for name in map(str, range(6)):
        for source in range(30):
            run.answer(name, source, run.cells(1)[0])
    return figures(run, tmp_path_factory.mktemp("none"))["perturbation"]


@pytest.fixture(scope="module")
def known_effect(tmp_path_factory):
    """Three perturbations with one effect each, and a model that draws from the true cells."""
    run = Run(2)
    run.add("control", 50)
    effects = {name: np.roll(EFFECT, shift) for shift, name in enumerate("ABC")}
    for name, effect in effects.items():
        run.add(name, 40, effect)
    for name, effect in effects.items():
        for source in range(40):
            run.answer(name, source, run.cells(1, effect)[0])
    return figures(run, tmp_path_factory.mktemp("known"))["perturbation"]


def test_without_an_effect_no_predictor_agrees(no_effect):
    """Shared control cells gave 0.4 to 0.7, and genes chosen by the cells that judge them 0.9."""
    for predictor, value in values(no_effect, "pearson_change").drop("no_change").items():
        assert abs(value) < 0.12, predictor
    for predictor, value in values(no_effect, "pearson_change_top_20").drop("no_change").items():
        assert abs(value) < 0.25, predictor
    for predictor, value in values(no_effect, "direction_top_20").drop("no_change").items():
        assert abs(value - 0.5) < 0.15, predictor
    assert {"model", "another_control", "measured_half", "perturbation_mean"} <= set(
        no_effect["predictor"]
    )


def test_without_an_effect_figures_lie_in_the_range_of_their_null(no_effect):
    found = no_effect[(no_effect["subject"] != "") & no_effect["null"].notna()]
    inside = found["value"].between(found["null_low"], found["null_high"])
    rates = inside.groupby([found["metric"], found["predictor"]]).mean()
    assert rates["pearson_change"].min() >= 0.7
    assert inside[found["metric"] != "direction_significant"].mean() > 0.85


def test_a_known_effect_is_found_and_its_null_is_none(known_effect):
    pearson, null = (values(known_effect, "pearson_change", column=c) for c in ("value", "null"))
    assert pearson["model"] > 0.5
    # The model is perfect: as good as the other half of the measured cells, in equal numbers.
    assert abs(pearson["model"] - pearson["measured_half"]) < 0.2
    assert null.drop("no_change").abs().max() < 0.1
    assert values(known_effect, "direction_top_20")["model"] > 0.9
    assert 0.3 < values(known_effect, "direction_top_20", column="null")["model"] < 0.7
    assert abs(pearson["another_control"]) < 0.15


def test_a_perfect_model_is_no_better_or_worse_than_measured_cells(tmp_path):
    """Distances of few answers and many measured cells, which are biased by their numbers."""
    run = Run(3)
    run.add("control", 60)
    effects = {name: np.roll(EFFECT, shift) for shift, name in enumerate("ABC")}
    for name, effect in effects.items():
        run.add(name, 80, effect)
        for source in range(12):
            run.answer(name, source, run.cells(1, effect)[0])
    table = figures(run, tmp_path)["perturbation"]
    scfid = values(table, "scfid", "X_c2s")
    assert 0.7 < scfid["model"] / scfid["measured_half"] < 1.4
    energy = values(table, "energy_distance", "X_c2s")
    for predictor in ("model", "measured_half"):
        assert abs(energy[predictor]) < 0.3 * energy["no_change"], predictor
    # How much of scFID is the number of cells.
    biases = [values(table, f"scfid_bias_{size}", "X_c2s")["measured_half"] for size in (8, 16, 32)]
    assert biases[0] > 1.5 * biases[1] > 2 * biases[2]
    assert scfid["measured_half"] > biases[0]


def test_equal_depth_makes_a_shorter_copy_as_good_as_no_change(tmp_path):
    """The answer is its control sentence, cut to 60 genes: nothing has changed but the length."""
    run = Run(4)
    run.add("control", 50)
    for name in "AB":
        run.add(name, 40, EFFECT)
    counts = np.concatenate(run.blocks)
    for name in "AB":
        for source in range(50):
            run.answer(name, source, counts[source], 60)
    table = figures(run, tmp_path)["perturbation"]
    full = values(table, "gene_overlap_full", "pseudobulk")
    assert full["model"] == pytest.approx(full["no_change"], abs=0.06)
    depths = table.loc[table["metric"] == "gene_overlap_full", "depth"]
    assert depths.groupby(table["subject"]).nunique().max() == 1


def test_random_genes_reach_the_chance_level(tmp_path):
    run = Run(5)
    run.add("control", 40)
    for name in "AB":
        run.add(name, 40)
        for source in range(40):
            # The same random genes in every answer: so is their pseudobulk sentence.
            genes = np.random.default_rng(ord(name)).permutation(GENES)[:90]
            run.say(name, source, genes, run.cells(1)[0])
    table = figures(run, tmp_path)["perturbation"]
    found, chance = (
        values(table, "gene_overlap_full", "pseudobulk", column)["model"]
        for column in ("value", "chance")
    )
    assert found == pytest.approx(chance, abs=0.08)
    assert values(table, "kendall_tau_full", "pseudobulk")["model"] == pytest.approx(0, abs=0.15)
