"""What a job asks PBS Professional and LSF for: no package has either, so none is submitted.

The options are those of the manuals of `qsub` (PBS Professional 2022.1: -l select with ncpus, mem
and ngpus in one chunk, walltime, -q, -P, -r) and `bsub` (LSF 10.1: -n, -R, -W, -M, -q, -G, -gpu).
"""

import pytest
from driving import LENIENT, Nextflow, copy_project

pytestmark = pytest.mark.pipeline

STEP = """
process EMBED {
    label 'process_gpu'
    script:
    'true'
}
workflow {
    EMBED()
}
"""
SITE = """
process.errorStrategy = 'terminate'
executor.retry.maxAttempt = 1
"""
OPTIONS = (
    *("--queue", "cpu", "--gpu_queue", "gpu", "--account", "lab", "--gpus_per_task", 2),
    *("--gpu_type", "a100", "--cluster_options", "-r y", "--max_time", "6 h"),
)
HEADS = {
    "pbspro": {
        # One chunk: on one node, and the GPUs beside the cores.
        "#PBS -l select=1:ncpus=4:mem=16384mb:ngpus=2 -r y",
        "#PBS -N nf-EMBED",
        "#PBS -j oe",
        "#PBS -q gpu",
        "#PBS -l walltime=06:00:00",
        "#PBS -P lab",
    },
    "lsf": {
        "#BSUB -J nf-EMBED",
        "#BSUB -q gpu",
        "#BSUB -n 4",
        '#BSUB -R "span[hosts=1]"',
        "#BSUB -W 06:00",
        "#BSUB -M 4194304",  # KB, of each core
        '#BSUB -R "select[mem>=16777216] rusage[mem=16384]"',  # Nextflow's: KB, and MB
        "#BSUB -gpu num=2:gmodel=a100",
        "#BSUB -r y",
        "#BSUB -G lab",
    },
}


@pytest.mark.parametrize("scheduler", list(HEADS))
def test_what_a_job_asks_for(scheduler, tmp_path, nextflow_home):
    project = copy_project(tmp_path / "project")
    (project / "main.nf").write_text(STEP)
    (tmp_path / "site.config").write_text(SITE)
    nextflow = Nextflow(tmp_path, nextflow_home, LENIENT)
    nextflow.run(
        *("-profile", scheduler, *OPTIONS, "--outdir", "results", "-c", "site.config"),
        script=project, status=None,
    )  # fmt: skip
    (script,) = (tmp_path / "work").glob("*/*/.command.run")
    text = script.read_text()
    lines = text[: text.index("NXF_CHDIR=")].splitlines()
    # A scheduler reads no further than the first line that is no comment.
    assert all(line.startswith("#") for line in lines)
    mark = {"pbspro": "#PBS", "lsf": "#BSUB"}[scheduler]
    log = f"{mark} -o {script.with_name('.command.log')}"
    assert set(lines) == {"#!/bin/bash", log, *HEADS[scheduler]}
