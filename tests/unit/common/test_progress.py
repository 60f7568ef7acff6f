"""How far a step is, recorded for the workflow."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from c2sflow.common import progress
from c2sflow.common.progress import RECORDER, in_parts, progress_bar

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "progress.json"
    RECORDER.start(path, "embed")
    yield path
    RECORDER.start(None, "")


def test_a_loop_is_recorded_from_time_to_time_and_at_its_end(record, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress_bar(10, "cell") as bar:
        written = []
        for _ in range(10):
            clock[0] += 2
            bar.update()
            written.append(json.loads(record.read_text())["done"] if record.exists() else 0)
    assert written == [1, 1, 1, 4, 4, 4, 7, 7, 7, 10]
    content = json.loads(record.read_text())
    assert content | {"seconds": 0, "started": 0} == {
        "step": "embed", "unit": "cell", "done": 10, "total": 10, "seconds": 0, "started": 0,
    }  # fmt: skip
    assert [path.name for path in record.parent.iterdir()] == ["progress.json"]


def test_the_task_of_several_shards_is_one(record, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    written = []
    for size in in_parts([4, 6], [4, 6]):
        with progress_bar(size, "cell") as bar:
            for _ in range(size):
                clock[0] += 5
                bar.update()
                content = json.loads(record.read_text())
                written.append((content["done"], content["total"], content["seconds"]))
    assert written == [(n, 10, 5 * n) for n in range(1, 11)]
    with progress_bar(2, "cell") as bar:  # alone again
        bar.update(2)
    assert json.loads(record.read_text())["total"] == 2


def test_a_step_that_counts_nothing_is_recorded_at_its_start(record):
    content = json.loads(record.read_text())
    assert (content["step"], content["done"], content["total"]) == ("embed", 0, 0)
    assert abs(content["started"] - time.time()) < 60


def test_without_a_record_nothing_is_written_and_nothing_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with progress_bar(3, "cell") as bar:
        bar.update(3)
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == ""


def test_a_step_records_its_cells(tmp_path):
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(2, (50, 300)).astype(np.float32))
    cells = pd.DataFrame(index=[f"cell{n}" for n in range(50)])
    genes = pd.DataFrame(index=[f"GENE{n}" for n in range(300)])
    AnnData(counts, cells, genes).write_h5ad(tmp_path / "cells.h5ad")
    command = [
        sys.executable, ROOT / "bin/c2s", "qc", "--h5ad=cells.h5ad", "--id=a", "--sample=a",
        "--organism=human", "--input-state=counts", "--min-genes=0", "--min-cells=0",
    ]  # fmt: skip
    environment = {**os.environ, "C2SFLOW_PROGRESS": "progress.json"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    record = json.loads((tmp_path / "progress.json").read_text())
    assert (record["step"], record["done"], record["total"]) == ("qc", 50, 50)


def test_a_bar_moves_where_it_is_watched(monkeypatch):
    """Jupyter's stderr is no terminal."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with progress_bar(3, "cell", show=True) as bar:
        assert bar.mininterval == 30
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    with progress_bar(3, "cell", show=True) as bar:
        assert bar.mininterval == 0.1
