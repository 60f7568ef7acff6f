"""Metrics of embeddings: as scib_metrics computes them, with intervals, and by their null."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scib_reference import REFERENCE, SHAPES, cells_of
from sklearn.metrics import pairwise_distances

from c2sflow.evaluation.embeddings import metric_interval, space_figures, transfer
from c2sflow.evaluation.neighbourhoods import Neighbours, lisi

MIXING = {"ilisi", "bras", "transfer_accuracy"}


def figures(vectors, types, batches=None):
    labels = np.array([f"type {one}" for one in types])
    named = None if batches is None else np.array([f"donor {one}" for one in batches])
    return {one.metric: one for one in space_figures(vectors, labels, named, "X_c2s", 0)}


@pytest.mark.parametrize("name", SHAPES)
def test_as_scib_metrics_computes_them(name):
    vectors, types, batches = cells_of(name)
    found = figures(vectors, types, batches)
    for metric, value in json.loads(REFERENCE.read_text())[name].items():
        if metric in ("nmi", "ari") and name == "weak":
            continue  # its k-means begins once, ours ten times: they differ on vague types
        assert found[metric].value == pytest.approx(value, abs=1e-3), metric


def test_cells_at_one_place_are_no_error():
    """Every embedding the same (scib-metrics #77): nothing is found, nothing is raised."""
    _, types, batches = cells_of("mixed")
    found = figures(np.ones((300, 12), np.float32), types, batches)
    assert found["ari"].value == found["nmi"].value == pytest.approx(0)
    assert found["silhouette"].value == 0.5
    assert found["bras"].value == 1
    assert all(np.isfinite(one.value) for one in found.values())


def test_missing_batches_are_left_out_of_mixing_only():
    vectors, types, batches = cells_of("parted")
    labels = types.astype(str)
    named = np.where(np.arange(300) < 200, batches.astype(str), "")
    found = {one.metric: one for one in space_figures(vectors, labels, named, "X_c2s", 0)}
    assert {metric: one.n for metric, one in found.items()} == {
        metric: 200 if metric in MIXING else 300 for metric in found
    }
    alone = {
        one.metric: one.value
        for one in space_figures(vectors[:200], labels[:200], named[:200], "X_c2s", 0)
    }
    for metric in MIXING - {"ilisi"}:
        assert found[metric].value == pytest.approx(alone[metric])
    assert set(figures(vectors, types)) == set(found) - MIXING


def test_transfer_is_of_types_that_other_batches_have():
    vectors = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    types, batches = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1])
    assert transfer(np.repeat(vectors, 7, axis=0), np.repeat(types, 7), np.repeat(batches, 7)) == 1
    assert np.isnan(transfer(vectors, np.arange(5), batches))


def test_neighbours_of_cells_at_one_place_begin_with_the_cell():
    found, distances = Neighbours(np.zeros((6, 6))).of(np.arange(6), 3)
    assert (found[:, 0] == np.arange(6)).all()
    assert (distances == 0).all()


@given(st.data())
def test_neighbours_of_some_cells_are_those_without_the_others(data):
    """As sorting their own distances gives them, cells at the same place in their order."""
    places = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    chosen = data.draw(st.sets(st.sampled_from(range(len(places))), min_size=1))
    own, k = np.array(sorted(chosen)), data.draw(st.integers(1, 14))
    every = pairwise_distances(np.array(places, float)[:, None])
    found, distances = Neighbours(every).of(own, k)
    between = every[np.ix_(own, own)]
    between[np.diag_indices(own.size)] = -1
    expected = np.argsort(between, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(distances, every[own[:, None], own[expected]])


def test_lisi_counts_groups():
    rng = np.random.default_rng(1)
    neighbours = Neighbours(pairwise_distances(rng.normal(size=(400, 3))))
    every = np.arange(400)
    assert lisi(neighbours, every, np.zeros(400, int)) == pytest.approx(1)
    assert 2.6 < lisi(neighbours, every, rng.integers(0, 3, 400)) < 3


def test_intervals_hold():
    """Of a mean, whose truth is known: about 95 % of the intervals of 400 samples hold it."""
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        values = rng.exponential(size=80)
        _, low, high = metric_interval(
            lambda own, values=values: values[own].mean(), np.arange(80), 1
        )
        hits += low <= 1 <= high
    assert 0.90 <= hits / 400 <= 0.98


def test_random_vectors_find_nothing():
    """The null: vectors that know neither types nor batches."""
    rng = np.random.default_rng(5)
    types, batches = rng.integers(0, 4, 600), rng.integers(0, 2, 600)
    found = figures(rng.normal(size=(600, 20)), types, batches)
    assert abs(found["ari"].value) < 0.02
    assert found["nmi"].value < 0.03
    assert found["silhouette"].value == pytest.approx(0.5, abs=0.01)
    assert found["ilisi"].value > 0.9
    assert found["bras"].value > 0.95
    assert found["transfer_accuracy"].value == pytest.approx(0.25, abs=0.06)
