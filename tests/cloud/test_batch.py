"""Runs on AWS Batch: what is asked of it, field by field, and jobs that really run in containers.

The server takes no notice of cores, memory and GPUs. Everything that tasks share is in the bucket.
"""

import subprocess

import anndata as ad
import pytest
from cloud import BUCKET, Batch, CloudNextflow
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
def run(nextflow, batch):
    """Arguments of a run on Batch."""

    def run(*arguments: object, status: int | None = 0):
        words = ("-profile", "awsbatch", *FEW_STEPS, *IN_BUCKET, *PLACES, *arguments)
        return nextflow.run(*words, "--aws_cli", batch.folder / "cli/bin/aws", status=status)

    return run


def test_what_is_asked_of_batch(run, batch, aws):
    """With GPUs, which the stubs of the steps do not use."""
    done = run(
        *("-stub-run", "--input", f"{BUCKET}/data/lane_1.h5ad", "--max_memory", "28 GB"),
        *("--outdir", f"{BUCKET}/stubs", "--gpus_per_task", 2, "--max_time", "6 h"),
    )
    jobs = {job["jobName"]: job for job in batch.requests("submitjob")}
    assert len(jobs) == sum(done.submitted.values())
    gpu = {name: job for name, job in jobs.items() if name.startswith("EMBED")}
    assert len(gpu) == 3  # the stub makes as many shards
    for name, job in jobs.items():
        needs = {
            need["type"]: need["value"]
            for need in job["containerOverrides"]["resourceRequirements"]
        }
        on_gpu = name in gpu
        assert job["jobQueue"] == ("gpu" if on_gpu else "cpu"), name
        assert needs.get("GPU") == ("2" if on_gpu else None), name
        assert 0 < int(needs["MEMORY"]) <= 28 * 1024, name
        assert 3600 <= job["timeout"]["attemptDurationSeconds"] <= 6 * 3600, name
        # A machine that is taken away is tried again, and no other failure: those are Nextflow's.
        assert job["retryStrategy"] == {
            "attempts": 5,
            "evaluateOnExit": [
                {"onStatusReason": "Host EC2*", "action": "RETRY"},
                {"onReason": "*", "action": "EXIT"},
            ],
        }, name
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
    assert "c2s.h5ad" in aws.keys("stubs")


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
