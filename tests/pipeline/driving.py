"""Driving the real Nextflow: every run in a folder of its own, as a person would start it."""

import os
import re
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = (
    "main.nf",
    "nextflow.config",
    "nextflow_schema.json",
    "modules",
    "subworkflows",
    "conf",
    "assets",
    "bin",
)
DEMO = ("-profile", "demo", "--outdir", "results", "--publish_shards")
ENGINES = {
    "24.10": (ROOT / ".nextflow-engine/24.10.5/nextflow", {}),
    "25.04": (ROOT / ".nextflow-engine/25.04.4/nextflow", {}),
    "25.04-strict": (
        ROOT / ".nextflow-engine/25.04.4/nextflow",
        {"NXF_SYNTAX_PARSER": "v2"},
    ),
    # In no registry we reach: tested where somebody has put one there.
    "26.04": (ROOT / ".nextflow-engine/26.04/nextflow", {}),
    "installed": (ROOT / ".venv/bin/nextflow", {}),
    "installed-strict": (ROOT / ".venv/bin/nextflow", {"NXF_SYNTAX_PARSER": "v2"}),
}
LENIENT = "installed"  # Nextflow as it comes
# Faults of a task, for its beforeScript: see injected/sitecustomize.py, which Python imports at its
# start.
INJECT = f"export PYTHONPATH='{ROOT / 'tests/pipeline/injected'}' FAULT="


WARM = ROOT / "tests/pipeline/warm"


@contextmanager
def warm_steps(door: Path, *steps: str, env: dict | None = None):
    """A process with the imports of all steps, whose fork runs each task of `steps`, or of all.

    Gives the process and what Nextflow's environment has to have for that. `env` is the process's,
    beside what nextflow.config sets for every task.
    """
    own = {
        "PYTHONPATH": ROOT / "bin",
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
        "HF_HUB_OFFLINE": "1",
        "GOMP_SPINCOUNT": "3000",
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    server = subprocess.Popen(
        [ROOT / ".venv/bin/python", WARM / "server.py", door],
        env={**(env or os.environ), **{name: str(value) for name, value in own.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert server.stdout.readline() == b"ready\n"
        yield server, {"WARM": str(door), "C2S": str(ROOT / "bin/c2s"), "STEPS": " ".join(steps)}
    finally:
        server.kill()
        server.wait()


@dataclass
class Run:
    """A finished run: its exit status and all it printed."""

    status: int
    output: str

    def _processes(self, verb: str) -> Counter:
        return Counter(re.findall(rf"{verb} process > (?:\w+:)?(\w+)", self.output))

    @cached_property
    def submitted(self) -> Counter:
        """Tasks that ran, by process."""
        return self._processes("Submitted")

    @cached_property
    def cached(self) -> Counter:
        """Tasks whose results -resume took from an earlier run, by process."""
        return self._processes("Cached")


class Nextflow:
    """Nextflow started in `folder`, which gets its work and log files too.

    The strict parser reads the pipeline in two thirds of the CPU time that the other takes. (In
    25.04 it knows no profile where `-c` names a further file; `LENIENT` does.) With the environment
    of `warm_steps` tasks take their imports from there. `project` is the pipeline that it runs.
    """

    def __init__(
        self,
        folder: Path,
        home: Path,
        engine: str = "installed-strict",
        warm: dict | None = None,
        project: Path = ROOT,
    ):
        self.folder = folder
        self.project = project
        self.launcher, extra = ENGINES[engine]
        if not self.launcher.exists():
            pytest.skip(f"no Nextflow {engine} at {self.launcher} (make engines has 24.10, 25.04)")
        path = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": path, "NXF_HOME": str(home), **extra}
        self.env.pop("OMP_NUM_THREADS", None)  # of these tests, not of who starts a run
        if warm:
            self.take_imports(warm)

    def take_imports(self, warm: dict) -> None:
        """Let the tasks be forks, by the environment of `warm_steps`."""
        self.env |= {**warm, "PATH": f"{WARM}{os.pathsep}{self.env['PATH']}"}

    def __call__(self, *arguments: object) -> Run:
        """Any command of Nextflow."""
        done = subprocess.run(
            [str(argument) for argument in (self.launcher, *arguments)],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,  # on a busy machine
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def run(self, *arguments: object, script: Path | None = None, status: int | None = 0) -> Run:
        """`nextflow run` of the project, or of another `script`; must end with `status`."""
        run = self("run", script or self.project, "-ansi-log", "false", *arguments)
        assert status is None or run.status == status, run.output
        return run


def without_record(folder: Path) -> Path:
    """The pipeline of `folder` measures no task: a third less CPU for a run of stubs.

    Nextflow then has no report, timeline, trace and DAG, whose figures of a task take 0.3 s of CPU.
    """
    off = (f"{kind}.enabled = false\n" for kind in ("report", "timeline", "trace", "dag"))
    (folder / "conf/record.config").write_text("".join(off))
    return folder


def copy_project(folder: Path, *linked: str) -> Path:
    """A copy of the pipeline, with links to what is `linked`."""
    folder.mkdir()
    for name in PROJECT:
        if name in linked:
            (folder / name).symlink_to(ROOT / name)
        elif (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder
