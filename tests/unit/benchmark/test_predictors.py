"""Baselines of the benchmark: what they predict is known where the truth is linear."""

import numpy as np
import pytest
from scipy import sparse

from c2sflow.benchmark.predictors import changed_cells, linear_changes, log_means, no_change
from c2sflow.benchmark.scores import scaled

GENES = [f"G{n}" for n in range(60)]


def control_cells(n=80):
    rng = np.random.default_rng(0)
    mean = rng.gamma(2, 3, len(GENES))
    mean[7] = 0
    return sparse.csr_matrix(rng.poisson(mean, (n, len(GENES))).astype(np.float32))


def test_no_change_are_control_cells():
    control = control_cells()
    drawn = no_change(control, 30, np.random.default_rng(1)).toarray()
    own = {tuple(row) for row in control.toarray()}
    assert len(drawn) == 30
    assert all(tuple(row) in own for row in drawn)


def test_changed_cells_have_the_change_and_the_depth():
    control, change = control_cells(), np.zeros(len(GENES))
    change[[2, 5]] = 0.7, -0.9
    cells = changed_cells(control, change, 3000, np.random.default_rng(1))
    depths = {int(own.sum()) for own in control}
    assert {int(own.sum()) for own in cells} <= depths
    assert (cells.data == np.rint(cells.data)).all()
    found = log_means(cells) - log_means(control)
    assert found[2] == pytest.approx(0.7, abs=0.25)
    assert found[5] == pytest.approx(-0.9, abs=0.25)
    assert cells[:, 7].nnz == 0


def test_a_linear_truth_is_found():
    """Changes that are a function of where the targeted gene lies among the genes."""
    rng = np.random.default_rng(2)
    places = rng.normal(size=(len(GENES), 2))
    changes = {GENES[n]: places @ np.diag([2.0, 1.0]) @ places[n] for n in range(25)}
    found = linear_changes(changes, {name: name for name in changes}, GENES)
    assert set(found) == set(changes)
    r = [np.corrcoef(found[name], changes[name])[0, 1] for name in changes]
    assert np.median(r) > 0.95


def test_a_condition_s_own_change_is_not_seen():
    rng = np.random.default_rng(3)
    changes = {name: rng.normal(size=len(GENES)) for name in GENES[:6]}
    targets = {name: name for name in changes}
    before = linear_changes(changes, targets, GENES)["G2"]
    after = linear_changes(changes | {"G2": np.zeros(len(GENES))}, targets, GENES)["G2"]
    assert np.array_equal(before, after)


def test_without_genes_of_three_others_there_is_no_linear_baseline():
    changes = {name: np.ones(len(GENES)) for name in ("G1", "G2", "G3", "drug")}
    targets = {"G1": "G1", "G2": "G2", "G3": "G3", "drug": None}
    assert linear_changes(changes, targets, GENES) == {}


def test_the_scale_s_ends_are_0_and_1():
    import pandas as pd

    rows = [("pds", "model", 0.8), ("pds", "mean_response", 0.5), ("pds", "replicate", 0.9)]
    rows += [("err", "model", 0.5), ("err", "mean_response", 1.0)]
    table = scaled(pd.DataFrame(rows, columns=["metric", "predictor", "value"]))
    assert table["scaled"].tolist()[:3] == pytest.approx([0.75, 0, 1])
    assert table["scaled"].isna().tolist()[3:] == [True, True]


def test_there_is_no_scale_where_a_replicate_is_no_better_than_the_mean_response():
    import pandas as pd

    error, match = "de_wilcoxon_lfc_nmae", "de_wilcoxon_direction_match"
    rows = [(error, "model", 0.8), (error, "mean_response", 0.4), (error, "replicate", 0.6)]
    rows += [(match, "model", 0.3), (match, "mean_response", 0.96), (match, "replicate", 0.9)]
    rows += [(error + "_2", "model", 1), (error + "_2", "mean_response", 0)]
    table = scaled(pd.DataFrame(rows, columns=["metric", "predictor", "value"]))
    assert table["scaled"].isna().all()
    rows = [(error, "model", 0.5), (error, "mean_response", 1.0), (error, "replicate", 0.4)]
    table = scaled(pd.DataFrame(rows, columns=["metric", "predictor", "value"]))
    assert table["scaled"].tolist() == pytest.approx([5 / 6, 0, 1])
