"""A Census on this machine, and the step that reads it."""

import os
import subprocess
from pathlib import Path

import pytest
from driving import ROOT, Nextflow

INSTALLED = ROOT / ".venv-census/bin"


class Census:
    """The folder `store` holds it; `whole` has the same cells as an h5ad file."""

    def __init__(self, folder: Path):
        self.store, self.whole = folder / "census", folder / "whole.h5ad"

    def python(self, *words: object) -> subprocess.CompletedProcess:
        """Python with the packages of the Census, and the project's library."""
        path = f"{INSTALLED}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [INSTALLED / "python", *map(str, words)], capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "bin")},
        )  # fmt: skip

    def select(self, query: str, outdir: Path) -> subprocess.CompletedProcess:
        """`c2s census`."""
        words = ("--query", query, "--store", self.store, "--outdir", outdir)
        return self.python(ROOT / "bin/c2s", "census", *words)


@pytest.fixture(scope="session")
def census(tmp_path_factory) -> Census:
    if not INSTALLED.exists():
        pytest.skip("no .venv-census: make census installs the packages of the Census")
    folder = tmp_path_factory.mktemp("census")
    made = Census(folder)
    subprocess.run(
        [ROOT / "bin/c2s", "demo", "--outdir", folder],
        env={**os.environ, "PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"},
        check=True,
    )
    done = made.python(ROOT / "tests/census/local_census.py", folder)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def nextflow(tmp_path) -> Nextflow:
    """The project's Nextflow, in the test's own folder."""
    return Nextflow(tmp_path, tmp_path / "nextflow_home")
