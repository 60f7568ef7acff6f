"""The flow through a real Grid Engine: one node, this machine, whose GPUs are numbers only."""

import os
import re
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from driving import ROOT
from test_slurm import EXECUTOR, GPU_STEPS

pytestmark = pytest.mark.pipeline

ONE_NODE = ROOT / "tests/gridengine/one-node"
# EMBED's jobs are deleted from outside once, as by an administrator.
CONFIG = """
process {
    withName: EMBED {
        afterScript = {
            task.attempt == 1 ? 'qdel $JOB_ID; sleep 60' : 'echo $CUDA_VISIBLE_DEVICES > .gpus'
        }
    }
}
"""


@pytest.fixture
def gridengine(open_folder):
    """Folder of a Grid Engine that runs."""
    daemons = ("/usr/lib/gridengine/sge_qmaster", "/usr/lib/gridengine/sge_execd", "/usr/bin/qsub")
    missing = [path for path in daemons if not os.access(path, os.X_OK)]
    if missing:
        pytest.skip(
            f"no {', '.join(missing)} (gridengine-master, -exec, -client): nothing ran there"
        )
    if os.geteuid() != 0:
        pytest.skip("starting a Grid Engine needs root: nothing ran there")
    subprocess.run([ONE_NODE, "up", open_folder, "2"], check=True)
    yield open_folder
    subprocess.run([ONE_NODE, "down", open_folder], check=True)
    assert not [pid for pid in daemon_pids(open_folder) if Path(f"/proc/{pid}").exists()]


def daemon_pids(folder: Path) -> list[str]:
    """Of its master and of its node."""
    return [path.read_text().strip() for path in folder.rglob("*.pid")]


def finished_jobs(n: int) -> pd.DataFrame:
    """A row for each of `n` jobs that ended: qname, jobname, category, …

    Grid Engine writes that down some seconds after their end.
    """
    for _ in range(60):
        done = subprocess.run(["qacct", "-j"], capture_output=True, text=True, check=True)
        jobs = [
            dict(re.findall(r"^(\w+) +(.*?) *$", job, re.MULTILINE))
            for job in re.split(r"^=+$", done.stdout, flags=re.MULTILINE)
        ]
        jobs = [job for job in jobs if "jobname" in job]
        if len(jobs) == n:
            break
        time.sleep(1)
    return pd.DataFrame(jobs)


def test_the_flow_on_grid_engine(gridengine, lenient, monkeypatch):
    """Its jobs start from a login shell, which has a PATH of its own."""
    settings = dict(line.split("=", 1) for line in (gridengine / "settings").read_text().split())
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    lenient.env |= settings
    lenient.env["PATH"] += f"{os.pathsep}{lenient.folder}/it's $HOME"
    (lenient.folder / "site.config").write_text(CONFIG + EXECUTOR)
    lenient.run(
        *("-profile", "test,sge", "-c", "site.config", "-stub-run", "--outdir", "results"),
        *("--queue", "main.q", "--gpu_queue", "gpu.q", "--parallel_environment", "threads"),
        *("--max_cpus", os.cpu_count(), "--max_memory", "4 GB", "--submit_rate", "50/1sec"),
        "--gpu_cluster_options=-v SGE_HGR_gpu=1",  # as if the complex were a map of GPUs
    )
    trace = pd.read_csv(lenient.folder / "results/pipeline_info/execution_trace.tsv", sep="\t")
    assert set(trace["process"][trace["status"] == "FAILED"]) == {"EMBED"}
    embed = trace.query("process == 'EMBED' and status == 'COMPLETED'")
    assert embed["tag"].nunique() == 6
    assert set(embed["attempt"]) == {2}
    assert {(Path(folder) / ".gpus").read_text() for folder in embed["workdir"]} == {"1\n"}

    jobs = finished_jobs(len(trace))
    step = jobs["jobname"].str.removeprefix("nf-").str.split("_(", regex=False).str[0]
    steps = {process.replace(":", "_"): process.split(":")[-1] for process in trace["process"]}
    assert set(step) == set(steps)
    on_gpu = step.map(steps).isin(GPU_STEPS)
    assert set(jobs["qname"][on_gpu]) == {"gpu.q"}
    assert set(jobs["qname"][~on_gpu]) == {"main.q"}
    assert (jobs["category"].str.contains("gpu=1") == on_gpu).all()
    assert jobs["granted_pe"].eq("threads").all()
