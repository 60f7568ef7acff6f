"""Fixtures of the tests that drive the real Nextflow."""

import shutil
import tempfile
from pathlib import Path

import pytest
from driving import DEMO, ENGINES, LENIENT, Nextflow, copy_project, warm_steps, without_record


@pytest.fixture(scope="session")
def nextflow_home(tmp_path_factory) -> Path:
    """NXF_HOME of all runs."""
    return tmp_path_factory.mktemp("nextflow_home")


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """The environment of runs whose tasks do not each import torch, transformers and scanpy.

    `demo`, containers and faults start every task as a user does, and so does EMBED on Slurm.
    """
    with warm_steps(tmp_path_factory.mktemp("warm") / "door") as (_, env):
        yield env


@pytest.fixture(scope="session")
def demo(tmp_path_factory, nextflow_home) -> Nextflow:
    """A finished run of the demo: `demo.first`, and its files under `demo.folder`.

    By the installed Nextflow as it comes: other tests use its strict parser, and 24.10.
    """
    nextflow = Nextflow(tmp_path_factory.mktemp("demo"), nextflow_home, LENIENT)
    nextflow.first = nextflow.run(*DEMO)
    return nextflow


@pytest.fixture(scope="session")
def unrecorded(tmp_path_factory) -> Path:
    """The pipeline without Nextflow's record of a run."""
    folder = tmp_path_factory.mktemp("unrecorded") / "c2sflow"
    return without_record(copy_project(folder, "assets", "bin"))


@pytest.fixture
def nextflow(tmp_path, nextflow_home, warm, unrecorded) -> Nextflow:
    """The project's Nextflow, in the test's own folder; it keeps no record of a run."""
    return Nextflow(tmp_path, nextflow_home, warm=warm, project=unrecorded)


@pytest.fixture
def lenient(tmp_path, nextflow_home) -> Nextflow:
    """The same, on clusters and with faults: for a profile and a further file of settings."""
    return Nextflow(tmp_path, nextflow_home, LENIENT)


@pytest.fixture
def oldest(tmp_path, nextflow_home, warm, unrecorded) -> Nextflow:
    """The oldest Nextflow that is supported, where it is installed, in the same folder."""
    engine = "24.10" if ENGINES["24.10"][0].exists() else "installed"
    return Nextflow(tmp_path, nextflow_home, engine, warm, unrecorded)


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of the pipeline that a test may edit, without Nextflow's record of a run."""
    return without_record(copy_project(tmp_path / "project"))


@pytest.fixture
def open_folder():
    """A folder that every user of this machine can reach: those of pytest are its owner's alone."""
    folder = Path(tempfile.mkdtemp(prefix="c2sflow-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
