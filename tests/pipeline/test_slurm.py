"""The pipeline through a real Slurm: one node, this machine, whose GPUs are device files only."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
from driving import ROOT

from c2sflow.cli import c2s

pytestmark = pytest.mark.pipeline

ONE_NODE = ROOT / "tests/slurm/one-node"
# Steps with a model: their folder is a link to that of the kind.
GPU_STEPS = {
    path.name.upper() for path in (ROOT / "containers").iterdir() if path.resolve().name == "gpu"
} - {"MODEL", "TUNED_MODEL"}  # which look at a model without using it
# EMBED's jobs are cancelled from outside once, as by an administrator or a job that comes first.
CONFIG = """
process {
    time = 10.min
    beforeScript = 'echo "${CUDA_VISIBLE_DEVICES:-none}" > .gpus'
    withName: EMBED {
        beforeScript = {
            'echo "$CUDA_VISIBLE_DEVICES" > .gpus' +
                (task.attempt == 1 ? '; (sleep 1; scancel $SLURM_JOB_ID) &' : '')
        }
    }
}
"""
EXECUTOR = """
executor {
    pollInterval = '1 sec'
    queueStatInterval = '3 sec'
    exitReadTimeout = '20 sec'
}
"""


@pytest.fixture
def slurm(open_folder):
    """Folder of a Slurm that runs."""
    missing = [tool for tool in ("slurmctld", "slurmd", "munged") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (slurm-wlm, munge): nothing ran on Slurm")
    if os.geteuid() != 0:
        pytest.skip("starting a Slurm needs root: nothing ran on Slurm")
    folder = open_folder  # munge wants its socket where all can reach it
    subprocess.run([ONE_NODE, "up", folder, "2"], check=True)
    yield folder
    subprocess.run([ONE_NODE, "down", folder], check=True)
    daemons = [path.read_text().strip() for path in folder.rglob("*pid")]
    assert not [pid for pid in daemons if Path(f"/proc/{pid}").exists()]


def finished_jobs(folder: Path) -> pd.DataFrame:
    """A row for each job that ended: JobId, Name, JobState, Partition, Tres, …"""
    lines = (folder / "jobs.txt").read_text().splitlines()
    return pd.DataFrame([dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines])


def test_demo_on_slurm(slurm, lenient, warm):
    """EMBED's jobs, one of which is cancelled, import what they need as a user's do."""
    others = (step for step in c2s.list_commands(None) if step != "embed")
    lenient.take_imports(warm | {"STEPS": " ".join(others)})
    lenient.env["SLURM_CONF"] = str(slurm / "slurm.conf")
    (lenient.folder / "site.config").write_text(CONFIG + EXECUTOR)
    run = lenient.run(
        *("-profile", "test,slurm", "-c", "site.config", "--outdir", "results"),
        *("--queue", "main", "--gpu_queue", "gpus", "--gpu_type", "a100", "--job_array", 2),
        *("--max_cpus", os.cpu_count(), "--max_memory", "8 GB"),
        *("--submit_rate", "50/1sec", "--cluster_options=--comment=c2sflow", "--device", "auto"),
        "--gpu_cluster_options=--constraint=large|small",  # no pipe of the shell
        *("--shard_size", 350),  # two jobs of EMBED, in an array
        *("--annotate", "false", "--attention_maps", 0),  # jobs like those of the other models
    )
    assert "Error is ignored" not in run.output
    outdir = lenient.folder / "results"
    assert ad.read_h5ad(outdir / "c2s.h5ad").n_obs == 700
    assert (outdir / "report.html").exists()

    trace = pd.read_csv(outdir / "pipeline_info/execution_trace.tsv", sep="\t")
    failed = trace[trace["status"] == "FAILED"]
    assert set(failed["process"]) == {"EMBED"}
    embed = trace.query("process == 'EMBED' and status == 'COMPLETED'")
    assert sorted(embed["tag"]) == ["lane_1.00000", "lane_2.00000"]
    assert set(embed["attempt"]) == {2}

    jobs = finished_jobs(slurm)
    jobs["process"] = jobs["Name"].str.removeprefix("nf-").str.split("_(", regex=False).str[0]
    steps = {process.replace(":", "_"): process.split(":")[-1] for process in trace["process"]}
    assert set(jobs["process"]) == set(steps)
    on_gpu = jobs["process"].map(steps).isin(GPU_STEPS)
    assert set(jobs["Partition"][on_gpu]) == {"gpus"}
    assert set(jobs["Partition"][~on_gpu]) == {"main"}
    assert (jobs["JobState"] == "CANCELLED").sum() >= 1

    for folder, process in zip(trace["workdir"], trace["process"], strict=True):
        head = (Path(folder) / ".command.run").read_text()
        assert "#SBATCH --comment=c2sflow" in head or "--comment=c2sflow" in head, process
        gpu = (Path(folder) / ".gpus").read_text().strip()
        on_gpu = process.split(":")[-1] in GPU_STEPS
        assert ("--constraint=large|small" in head) == on_gpu, process
        assert gpu in (("0", "1") if on_gpu else ("none",)), process


def test_a_site_that_takes_no_memory_request(slurm, lenient):
    """As docs/slurm.md describes it, with the text of that page."""
    lenient.env["SLURM_CONF"] = str(slurm / "slurm.conf")
    page = (ROOT / "docs/slurm.md").read_text(encoding="utf-8")
    (recipe,) = (
        text for text in re.findall(r"```nextflow\n(.*?)```", page, re.S) if "null" in text
    )
    (lenient.folder / "site.config").write_text(recipe + EXECUTOR)
    run = lenient.run(
        *("-profile", "test,slurm", "-c", "site.config", "-stub-run", "--outdir", "results"),
        *("--queue", "main", "--gpu_queue", "gpus", "--max_cpus", os.cpu_count()),
        *("--submit_rate", "50/1sec", "--device", "cpu"),
    )
    assert run.submitted["EMBED"] == 6
    trace = pd.read_csv(lenient.folder / "results/pipeline_info/execution_trace.tsv", sep="\t")
    for folder in trace["workdir"]:
        assert "--mem" not in (Path(folder) / ".command.run").read_text()
