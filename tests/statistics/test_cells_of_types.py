"""Figures of generated cells for generators that are known: perfect, and blind to the type."""

import numpy as np
import pytest
from simulated_run import N_GENES, Run, write_generated

from c2sflow.data.result_tables import read_evaluation
from c2sflow.evaluation.run import Settings, write_evaluation

# Three types, of which two are near each other and one is rare.
EFFECTS = {
    "A": np.ones(N_GENES),
    "B": np.where(np.arange(N_GENES) % 10 == 0, 3.0, 1),
    "C": np.where(np.arange(N_GENES) % 3 == 0, 0.1, np.where(np.arange(N_GENES) % 3 == 1, 3, 1)),
}
SIZES = {"A": 90, "B": 60, "C": 20}


def evaluated(folder, draw):
    """`draw` gives the counts of a generated cell of a type."""
    run = Run(7)
    for name, n in SIZES.items():
        run.add(name, n, EFFECTS[name])
    made = {name: np.concatenate([draw(run, name) for _ in range(40)]) for name in EFFECTS}
    files = write_generated(run.write(folder), folder, made)
    write_evaluation(files, folder, Settings(label_column="label"))
    table = read_evaluation(folder / "evaluation")["generation"]
    table = table[table["subject"] != ""].set_index(["metric", "space", "subject", "predictor"])
    return table.sort_index()


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """Draws a type as often as it occurs, whatever type is asked for."""
    shares = np.array(list(SIZES.values())) / sum(SIZES.values())

    def draw(run, _):
        return run.cells(1, EFFECTS[run.rng.choice(list(EFFECTS), p=shares)])

    return evaluated(tmp_path_factory.mktemp("blind"), draw)


@pytest.fixture(scope="module")
def perfect(tmp_path_factory):
    def draw(run, name):
        return run.cells(1, EFFECTS[name])

    return evaluated(tmp_path_factory.mktemp("perfect"), draw)


@pytest.mark.parametrize("space", ["sentence_pcs", "X_c2s"])
def test_a_generator_that_ignores_the_type_does_not_beat_its_yardstick(blind, space):
    """Cells of other types without those of the type itself are easily beaten."""
    for name in EFFECTS:
        rival = blind["value"]["scfid", space, name, "all_types"]
        assert blind["value"]["scfid", space, name, "model"] > 0.75 * rival
    if space == "sentence_pcs":
        overlaps = blind["value"]["gene_overlap_top_20", "cells"].unstack()
        np.testing.assert_allclose(overlaps["model"], overlaps["all_types"], atol=0.1)


def test_a_perfect_generator_is_as_good_as_real_cells(perfect):
    values = perfect["value"]
    for name in EFFECTS:
        ratio = np.divide(
            *(values["scfid", "sentence_pcs", name, p] for p in ("model", "measured_half"))
        )
        assert 0.7 < ratio < 1.4, name
        overlap = values["gene_overlap_full", "cells", name]
        assert overlap["model"] == pytest.approx(overlap["another_cell"], abs=0.06)
        overlap = values["gene_overlap_full", "pseudobulk", name]
        assert overlap["model"] == pytest.approx(overlap["measured_half"], abs=0.1)
    energy = values["energy_distance", "sentence_pcs"].unstack()
    assert (energy["model"].abs() < 0.3 * energy["all_types"].max()).all()


def test_all_predictors_are_compared_at_one_depth(perfect):
    for metric in ("gene_overlap_top_20", "gene_overlap_top_100", "gene_overlap_full"):
        for space in ("cells", "pseudobulk"):
            depths = perfect["depth"][metric, space].unstack()
            assert (depths.nunique(axis=1) == 1).all()
            chance = perfect["chance"][metric, space]
            assert chance.between(0, 1).all()
            assert (perfect["value"][metric, space] > chance).all()
