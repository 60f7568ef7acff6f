"""Threads change the time and nothing else."""

import os
import signal
import sys
import threading

import numpy as np
import pytest
from making import cells
from scipy import sparse
from threadpoolctl import threadpool_info

from c2sflow.common.threads import (
    SPIN_COUNT,
    in_processes,
    in_threads,
    let_threads_sleep,
    n_cores,
    one_thread,
)
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


def _seen(number):
    return number, os.getpid(), n_cores()


def _inverse(number):
    return 1 / (3 - number)


def _ended(_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked")
def test_processes_share_the_cores_and_keep_the_order(cores):
    numbers, processes, each = zip(*in_processes(_seen, range(20)), strict=True)
    assert numbers == (*range(20),)
    assert len(set(processes)) <= cores
    assert (os.getpid() in processes) == (cores == 1)
    assert set(each) == {1}
    assert {own for _, _, own in in_processes(_seen, range(2))} == {max(1, cores // 2)}
    assert [*in_processes(_seen, [7])] == [(7, os.getpid(), cores)]


def _threads_of_libraries(_):
    return {library["num_threads"] for library in threadpool_info()}


@pytest.mark.usefixtures("cores")
def test_processes_keep_the_limit_of_threads():
    with one_thread():
        assert [*in_processes(_threads_of_libraries, range(5))] == [{1}] * 5


@pytest.mark.usefixtures("cores")
def test_errors_of_processes_come_where_their_result_would():
    results = in_processes(_inverse, range(10))
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked")
def test_a_process_that_the_system_ends_is_memory_that_ran_out(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(MemoryError, match="one of 2 processes was ended by the system"):
        list(in_processes(_ended, range(3)))


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
