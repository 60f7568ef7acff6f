"""Controls of perturbed cells: of their stratum, and assigned the nearest as a whole."""

from collections import Counter
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.training import pairing
from c2sflow.training.pairing import Assignment, Pairing, rank_vectors


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["B", "T", None])), min_size=1))
def test_a_control_is_of_the_stratum(cells):
    control = np.array([is_control for is_control, _ in cells])
    strata = pd.Series([label for _, label in cells], dtype=object)
    pairs = Pairing(control, strata)
    with_control = {label for is_control, label in cells if is_control and label}
    assert pairs.has_control.tolist() == [label in with_control for _, label in cells]
    wanted = np.flatnonzero(pairs.has_control).repeat(20)
    found = pairs(np.random.default_rng(0), wanted)
    assert control[found].all()
    assert (strata[found].to_numpy() == strata[wanted].to_numpy()).all()


def assigned(n_controls, n_perturbed, strata=None, conditions=None, epoch=0):
    n = n_controls + n_perturbed
    control = np.arange(n) < n_controls
    vectors = np.random.default_rng(1).normal(size=(n, 3)).astype(np.float32)
    conditions = pd.Series(["IFN"] * n if conditions is None else conditions)
    pairs = Assignment(control, strata, conditions, vectors)
    return pairs(np.random.default_rng(epoch), np.flatnonzero(~control)), vectors


def cost(vectors, left, right):
    return ((vectors[left] - vectors[right]) ** 2).sum(axis=1).sum()


@given(
    n_controls=st.integers(2, 8),
    n_asked=st.integers(1, 8),
    by_assignment=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_control_is_paired_with_another(n_controls, n_asked, by_assignment, seed):
    control = np.ones(n_controls, dtype=bool)
    vectors = np.random.default_rng(seed).normal(size=(n_controls, 2)).astype(np.float32)
    pairs = (
        Assignment(control, None, pd.Series(["control"] * n_controls), vectors)
        if by_assignment
        else Pairing(control)
    )
    assert pairs.has_another.all()
    cells = np.arange(n_controls)[:n_asked]
    assert (pairs(np.random.default_rng(seed), cells) != cells).all()


def test_a_control_alone_in_its_stratum_has_no_other():
    pairs = Pairing(np.array([True, True, True, False]), pd.Series(["B", "T", "T", "B"]))
    assert pairs.has_another.tolist() == [False, True, True, False]


def test_the_assignment_is_the_best_of_all_of_those_drawn():
    perturbed = np.arange(7, 12)
    drawn = set()
    for epoch in range(20):
        found, vectors = assigned(7, 5, epoch=epoch)
        best = min(cost(vectors, perturbed, list(chosen)) for chosen in permutations(found))
        assert cost(vectors, perturbed, found) == pytest.approx(best, rel=1e-6)
        assert len(set(found)) == 5
        drawn |= set(found)
    assert drawn == set(range(7))  # anew each time


def test_large_groups_are_assigned_in_blocks(monkeypatch):
    monkeypatch.setattr(pairing, "BLOCK", 40)
    found, vectors = assigned(100, 240)
    assert set(found) <= set(range(100))
    assert max(Counter(found).values()) <= 5  # of 6 blocks, each uses a control at most once
    chance = np.random.default_rng(2).integers(0, 100, 240)
    perturbed = np.arange(100, 340)
    assert cost(vectors, perturbed, found) < 0.5 * cost(vectors, perturbed, chance)
    few, _ = assigned(3, 20)  # fewer controls than cells: all are used, equally often
    assert sorted(Counter(few).values()) == [6, 7, 7]


def test_conditions_and_strata_are_assigned_by_themselves():
    strata = pd.Series(["B", "T"] * 20)
    conditions = ["IFN"] * 30 + ["TNF"] * 10
    found, _ = assigned(20, 20, strata, conditions)
    perturbed = np.arange(20, 40)
    assert (strata[found].to_numpy() == strata[perturbed].to_numpy()).all()
    for condition in ("IFN", "TNF"):  # each is free to use every control
        own = found[np.array(conditions)[perturbed] == condition]
        assert len(set(own)) == own.size


def test_rank_vectors_keep_who_is_near_whom():
    sentences = [["A", "B", "C"], ["A", "C", "B"], ["X", "Y", "Z"], ["A", "B", "C"]]
    vectors = rank_vectors(sentences)
    near = np.linalg.norm(vectors[0] - vectors[1])
    assert np.array_equal(vectors[0], vectors[3])
    assert near < 0.1 * np.linalg.norm(vectors[0] - vectors[2])
    exact = np.sqrt(6 * 0.99**2)  # six genes, none in common, weights 1, 0.99 and 0.98
    assert np.linalg.norm(vectors[0] - vectors[2]) == pytest.approx(exact, rel=0.25)
