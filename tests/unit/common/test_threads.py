"""Threads change the time and nothing else."""

import os
import sys
import threading

import numpy as np
import pytest
from making import cells
from scipy import sparse

from c2sflow.common.threads import SPIN_COUNT, in_threads, let_threads_sleep
from c2sflow.data.readers import open_anndata


@pytest.fixture(params=["1", "2", "5"])
def cores(request, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", request.param)
    return int(request.param)


@pytest.mark.usefixtures("cores")
def test_results_come_in_order():
    assert list(in_threads(lambda n: n * n, range(50))) == [n * n for n in range(50)]
    assert list(in_threads(lambda n: n, [])) == []


def test_no_more_is_asked_for_than_runs_ahead(cores):
    taken = []
    results = in_threads(lambda n: n, (taken.append(n) or n for n in range(100)))
    next(results)
    assert len(taken) <= 1 + (cores > 1) * cores
    results.close()


@pytest.mark.usefixtures("cores")
def test_errors_come_where_their_result_would():
    before = set(threading.enumerate())  # those of other tests may still end
    results = in_threads(lambda n: 1 // (3 - n), range(10))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert set(threading.enumerate()) <= before


@pytest.mark.usefixtures("cores")
def test_blocks_are_the_same(tmp_path):
    cells().write_h5ad(tmp_path / "a.h5ad")
    with open_anndata(tmp_path / "a.h5ad") as data:
        whole = sparse.vstack([block for _, block in data.chunks(3)])
    assert np.array_equal(whole.toarray(), cells().X.toarray())


@pytest.mark.parametrize(
    ("before", "loaded", "after"),
    [(None, False, SPIN_COUNT), ("7", False, "7"), (None, True, None)],
)
def test_threads_sleep_unless_set_or_too_late(monkeypatch, before, loaded, after):
    """torch's OpenMP reads the variable once, when torch is loaded."""
    monkeypatch.setenv("GOMP_SPINCOUNT", before or "")
    if before is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    if loaded:
        monkeypatch.setitem(sys.modules, "torch", object())
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    let_threads_sleep()
    assert os.environ.get("GOMP_SPINCOUNT") == after
