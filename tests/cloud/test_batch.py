"""Runs on AWS Batch: what is asked of it, field by field, and jobs that really run in containers.

The server takes no notice of cores, memory and GPUs. Everything that tasks share is in the bucket.
"""

import json
import os
import subprocess

import anndata as ad
import pytest
from cloud import BUCKET, Batch, CloudNextflow
from comparing import check_same_cells
from driving import Nextflow, copy_project
from test_s3 import FEW_STEPS, IN_BUCKET

pytestmark = pytest.mark.pipeline

PLACES = (
    *("--queue", "cpu", "--gpu_queue", "gpu", "--container_registry", "localhost"),
    *("--aws_region", "us-east-1", "-work-dir", f"{BUCKET}/work"),
)


@pytest.fixture(scope="module")
def batch(tmp_path_factory, aws, docker_host):
    if not docker_host:
        pytest.skip("podman is not installed: no job of Batch was run")
    made = Batch(tmp_path_factory.mktemp("batch"), aws)
    started = subprocess.run(
        ["podman", "--url", docker_host, "run", "--rm", "-v", "/usr:/usr:ro", made.image, "true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if started.returncode != 0:
        pytest.skip(f"podman starts no container here: {started.stderr.strip()}")
    return made


@pytest.fixture(scope="module")
def nextflow(tmp_path_factory, nextflow_home, aws, batch):
    made = CloudNextflow(tmp_path_factory.mktemp("nextflow"), nextflow_home, aws)
    batch.configure(made)
    return made


@pytest.fixture(scope="module")
def places(batch):
    """Arguments that name the queues, the registry and the command that copies files."""
    return (*PLACES, "--aws_cli", batch.folder / "cli/bin/aws")


@pytest.fixture(scope="module")
def run(nextflow, places):
    """Arguments of a run on Batch."""

    def run(*arguments: object, status: int | None = 0):
        words = ("-profile", "awsbatch", *FEW_STEPS, *IN_BUCKET, *places, *arguments)
        return nextflow.run(*words, status=status)

    return run


# A step of each kind, whose stubs the containers run.
STEPS = """
include { EMBED } from './modules/embed'
include { SHEET } from './modules/sheet'
workflow {
    SHEET(file("${params.input}"), 'code')
    shard = SHEET.out.rows.map { rows -> [[id: 'shard'], rows] }
    EMBED(shard, files("${params.model}/*"), [:], 'code')
}
"""
NEEDS = {
    "SHEET": {"queue": "cpu", "VCPU": 1, "MEMORY": 4 * 1024, "hours": 4},
    # --max_memory and --max_time are less than the step asks for
    "EMBED_shard": {"queue": "gpu", "GPU": 2, "VCPU": 4, "MEMORY": 15 * 1024, "hours": 6},
}


def test_what_is_asked_of_batch(nextflow, batch, places, tmp_path):
    project = copy_project(tmp_path / "project")
    (project / "main.nf").write_text(STEPS)
    nextflow.run(
        *("-stub-run", "-profile", "awsbatch", *IN_BUCKET, *places, "--gpus_per_task", 2),
        *("--max_memory", "15 GB", "--max_time", "6 h", "--outdir", f"{BUCKET}/stubs"),
        script=project,
    )
    (definition,) = batch.requests("registerjobdefinition")
    container = definition["containerProperties"]
    assert definition["type"] == "container"
    assert container["image"] == batch.image
    # The command that copies files comes from the machine, read only.
    cli = str(batch.folder / "cli")
    volumes = {volume["name"]: volume["host"]["sourcePath"] for volume in container["volumes"]}
    mounts = {mount["containerPath"]: mount for mount in container["mountPoints"]}
    assert mounts[cli]["readOnly"]
    assert volumes[mounts[cli]["sourceVolume"]] == cli

    asked = {}
    for job in batch.requests("submitjob"):
        both = (container, job["containerOverrides"])  # the second goes before the first
        needs = {
            need["type"]: int(need["value"]) for own in both for need in own["resourceRequirements"]
        }
        hours = job["timeout"]["attemptDurationSeconds"] / 3600
        asked[job["jobName"]] = {"queue": job["jobQueue"], **needs, "hours": hours}
        # A machine that is taken away is tried again, and no other failure: those are Nextflow's.
        assert job["retryStrategy"] == {
            "attempts": 5,
            "evaluateOnExit": [
                {"onStatusReason": "Host EC2*", "action": "RETRY"},
                {"onReason": "*", "action": "EXIT"},
            ],
        }
    assert asked == NEEDS


SLOW = pytest.mark.skipif("CLOUD" not in os.environ, reason="make test-cloud runs it: ten minutes")


@SLOW
def test_a_run_in_containers(run, aws, tmp_path):
    """From raw file to report, all of it in the bucket; and again, which runs nothing."""
    arguments = ("--input", f"{BUCKET}/data/lane_1.h5ad", "--outdir", f"{BUCKET}/from_batch")
    first = run(*arguments, "--device", "cpu")
    assert aws.keys("from_batch") >= {"c2s.h5ad", "report.html", "pipeline_info/verdict.json"}
    aws("s3", "cp", "--quiet", f"{BUCKET}/from_batch/c2s.h5ad", tmp_path)
    cells = ad.read_h5ad(tmp_path / "c2s.h5ad")
    assert cells.obsm["X_c2s"].shape[0] == cells.n_obs == 350
    assert aws.env["AWS_SECRET_ACCESS_KEY"] not in first.output
    again = run(*arguments, "--device", "cpu", "-resume")
    assert again.cached == first.submitted
    assert not again.submitted


@SLOW
def test_every_step_in_containers_and_arrays(nextflow, batch, places, aws, tmp_path, nextflow_home):
    """What the docs begin with, the tasks of both samples in job arrays; as on this machine."""
    test = ("--shard_size", 350, "--device", "cpu")
    local = Nextflow(tmp_path, nextflow_home)
    local.run("-profile", "test", "--outdir", "results", *test)
    run = nextflow.run(
        *("-profile", "test,awsbatch", *test, "--job_array", 2, "--outdir", f"{BUCKET}/tested"),
        *(*places, "--model_cache", f"{BUCKET}/cache"),
    )
    arrays = {
        job["jobName"]: job["arrayProperties"]["size"]
        for job in batch.requests("submitjob")
        if "arrayProperties" in job
    }
    of_each = ("EMBED", "ANNOTATIONANNOTATE", "ATTENTION_MAPSATTENTION", "PERTURBATIONPERTURB")
    assert arrays == {f"{process}_1": 2 for process in of_each}
    assert run.submitted["EMBED"] == 2
    for name in ("c2s.h5ad", "c2s_perturbed.h5ad"):
        aws("s3", "cp", "--quiet", f"{BUCKET}/tested/{name}", tmp_path)
        here = ad.read_h5ad(local.folder / "results" / name)
        there = ad.read_h5ad(tmp_path / name)
        check_same_cells(there, here, obs_rtol=1e-4, rtol=1e-4)


@SLOW
def test_training_in_containers(run, aws, tmp_path):
    """The model is trained in a container, stored in the bucket, and taken from there to embed."""
    trained = run(
        *("--input", f"{BUCKET}/data/lane_1.h5ad", "--outdir", f"{BUCKET}/trained"),
        *("--device", "cpu", "--finetune", "cell_type", "--held_out", "0.3", "--max_steps", "2"),
        *("--finetune_batch_tokens", "1024", "-resume"),
    )
    assert trained.submitted["FINETUNE"] == 1
    names = ("finetune.json", "loss.tsv", "model/adapter_model.safetensors")
    assert aws.keys("trained") >= {"report.html"} | {f"finetuned/{name}" for name in names}
    for name in ("finetuned/finetune.json", "c2s.h5ad"):
        aws("s3", "cp", "--quiet", f"{BUCKET}/trained/{name}", tmp_path)
    assert json.loads((tmp_path / "finetune.json").read_text())["steps"] == 2
    cells = ad.read_h5ad(tmp_path / "c2s.h5ad")
    assert cells.obsm["X_c2s"].shape[0] == cells.n_obs == 350
    assert set(cells.obs["c2s_split"]) == {"train", "validation", "test"}
