"""The benchmarks' own programs take the exports, by the commands in the READMEs there.

In an environment of their own: `make test-benchmarks`.
"""

import math
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from benchmark.made_results import PERTURBED, make_results

from c2sflow.benchmark.compared import Settings
from c2sflow.benchmark.exports import write_exports

BIN = Path(sys.executable).parent


def needs(package: str) -> pytest.MarkDecorator:
    """Skip where a tool is not installed: only cell-eval2 is among the project's own packages."""
    missing = find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"no {package} here: make test-benchmarks")


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    files = make_results(folder)
    tools = ["cell_eval", "vcc2026", "cz_benchmarks"]
    write_exports(tools, *files, folder, Settings(measured_column="treatment"))
    return folder / "exports"


def run_readme(folder: Path, start: str) -> str:
    """Run the command of the README that starts so; what it prints."""
    commands = (folder / "README.md").read_text().replace("\\\n", "").splitlines()
    command = next(line.strip() for line in commands if line.strip().startswith(start))
    return run(command, folder)


def run(command: str, folder: Path) -> str:
    """Run a command of these tools; what it prints."""
    path = {"PATH": f"{BIN}:{os.environ['PATH']}", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, **path}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@needs("cell_eval")
def test_cell_eval(exports):
    folder = exports / "cell_eval"
    run_readme(folder, "cell-eval run")
    scores = pd.read_csv(folder / "scores" / "results.csv").set_index("perturbation")
    assert set(scores.index) == set(PERTURBED)
    assert (scores["pearson_delta"] > 0.3).all()
    assert scores["mae"].between(0, 1).all()
    if shutil.which("zstd"):
        run_readme(folder, "cell-eval prep")
        assert (folder / "predicted.prep.vcc").exists()


@needs("cell_eval2")
def test_cell_eval2_at_the_virtual_cell_challenge(exports):
    folder = exports / "vcc2026"
    run_readme(folder, "cell-eval2 run --preset vcc2026 -ap")
    scores = pd.read_csv(folder / "scores" / "agg_results.csv").set_index("statistic").loc["mean"]
    assert scores["pds_cosine"] > 0.7
    assert scores["de_wilcoxon_sig_jaccard"] > 0.1
    assert math.isfinite(scores["expr_mse_unbiased_capped_norm"])


@needs("czbenchmarks")
def test_cz_benchmarks(exports):
    printed = run_readme(exports / "cz_benchmarks", "python run.py")
    scores = {line.split("\t")[0]: float(line.split("\t")[2]) for line in printed.splitlines()}
    assert set(scores) == set(PERTURBED)
    assert all(value > 0.5 for value in scores.values())
