"""Profiles of clusters, clouds and containers: what they hold, and what they cannot do without."""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import pytest
from driving import ROOT, Nextflow

pytestmark = pytest.mark.pipeline

# Profiles, options, and what they then hold by the names that `nextflow config -flat` gives. A
# cluster and an engine of containers are given together, as users do.
PROFILES = {
    "slurm,apptainer": ("account=lab queue_size=7 model_cache=/shared/models", {
        "env.C2SFLOW_COMPILE_CACHE": "'/shared/compile_cache'",
        "process.ext.compile_cache": "'/shared/compile_cache'",
        "process.executor": "'slurm'", "executor.account": "'lab'", "executor.queueSize": "7",
        "executor.submitRateLimit": "'20/1min'", "params.device": "'cuda'",
        "apptainer.enabled": "true", "apptainer.autoMounts": "true",
        # beside what the profile has for the label process_gpu
        "process.'withLabel:process_(gpu)'.cpus": "4",
        "process.'withLabel:process_(gpu)'.memory": "{ 16.GB * task.attempt }",
    }),
    "lsf,singularity": ("job_array=5", {
        "process.executor": "'lsf'", "process.'withLabel:process_gpu'.array": "5",
        "process.'withName:FETCH|CENSUS'.executor": "'local'", "singularity.enabled": "true",
    }),
    "sge,charliecloud": ("parallel_environment=threads max_cpus=8", {
        "process.executor": "'sge'", "process.penv": "'threads'", "charliecloud.enabled": "true",
        "process.resourceLimits": "[cpus:8, memory:'240 GB', time:'48 h']",
    }),
    "pbspro,podman": ("", {"process.executor": "'pbspro'", "podman.enabled": "true"}),
    "gpu,docker,test_full": ("gpus=3", {
        "process.'withLabel:process_gpu'.maxForks": "3", "docker.enabled": "true",
        "params.model": "'vandijklab/C2S-Scale-Gemma-2-2B'",
        "params.outdir": "'results/test_full'",
        "params.input": "'https://exampledata.scverse.org/pertpy/kang_2018.h5ad'",
    }),
    "k8s": ("k8s_claim=work compile_cache=/workspace/compiled", {
        "env.C2SFLOW_COMPILE_CACHE": "'/workspace/compiled'",
        "process.executor": "'k8s'", "k8s.storageClaimName": "'work'",
        "k8s.storageMountPath": "'/workspace'",
    }),
    "awsbatch": ("aws_region=eu-west-1 model_cache=s3://lab/models", {
        "env.C2SFLOW_COMPILE_CACHE": None, "process.ext.compile_cache": None,
        "process.executor": "'awsbatch'", "aws.region": "'eu-west-1'",
        "aws.batch.maxSpotAttempts": "5",
    }),
    "googlebatch": ("google_project=p google_location=europe-west4 spot=true", {
        "process.executor": "'google-batch'", "google.project": "'p'",
        "google.location": "'europe-west4'", "google.batch.spot": "true",
        "google.batch.maxSpotAttempts": "5",
    }),
    "azurebatch": ("azure_location=westeurope azure_batch_account=b", {
        "process.executor": "'azurebatch'", "azure.batch.location": "'westeurope'",
        "azure.batch.accountName": "'b'", "azure.batch.autoPoolMode": "true",
    }),
}  # fmt: skip
# Either parser by turns: both read all of the shared files.
ENGINES = dict(zip(PROFILES, cycle(["24.10", "25.04-strict"]), strict=False))


@pytest.fixture(scope="module")
def configs(tmp_path_factory, nextflow_home) -> dict[str, dict[str, str]]:
    """For each profile its settings. `config` takes parameters from a file only."""

    def read(profile: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("config")
        given = [word.split("=") for word in PROFILES[profile][0].split()]
        lines = [
            f"params.{name} = {value if value.isdigit() else repr(value)}" for name, value in given
        ]
        (folder / "own.config").write_text(
            "\n".join([*lines, f"includeConfig '{ROOT}/nextflow.config'"])
        )
        nextflow = Nextflow(folder, nextflow_home, ENGINES[profile])
        run = nextflow("-C", "own.config", "config", "-profile", profile, "-flat")
        assert run.status == 0, run.output
        strict = ENGINES[profile] == "25.04-strict"  # warns of every option of a selector
        assert strict or "WARN" not in run.output, run.output
        return dict(line.split(" = ", 1) for line in run.output.splitlines() if " = " in line)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(PROFILES, pool.map(read, PROFILES), strict=True))


@pytest.mark.parametrize("profile", PROFILES)
def test_profile(configs, profile):
    found = configs[profile]
    for name, value in PROFILES[profile][1].items():
        assert found.get(name) == value, name
    assert "process.container" in found
    assert not any(name.startswith("plugins") for name in found)  # 26.x could not start offline


def test_what_is_missing_is_told_before_anything_starts(nextflow):
    run = nextflow.run(
        *(
            "-profile",
            "test,awsbatch,googlebatch,azurebatch,k8s,apptainer",
            "--queue",
            "a b; $(id)",
        ),
        *("--submit_rate", "often", "--model", "someone/model"),
        script=ROOT,  # with Nextflow's record, which is all that is written
        status=None,
    )
    assert run.status != 0
    assert not run.submitted
    said = run.output
    for profile, names in {
        "awsbatch": ("aws_region", "container_registry"),
        "googlebatch": ("google_project", "google_location", "gpu_type", "container_registry"),
        "azurebatch": (
            "azure_location",
            "azure_batch_account",
            "azure_storage_account",
            "gpu_machine",
        ),
        "k8s": ("k8s_claim", "container_registry"),
        "apptainer": ("container_dir",),
    }.items():
        for name in names:
            assert f"-profile {profile} needs --{name}: " in said
    for profile, store in {"awsbatch": "s3", "googlebatch": "gs", "azurebatch": "az"}.items():
        for option in ("-work-dir", "--model_cache"):
            assert f"-profile {profile} needs {option} {store}://BUCKET/FOLDER, not " in said
    assert "--queue a b; $(id): must be a word of letters, digits and" in said
    assert "--submit_rate often: must be like 20/1min" in said
    assert "Exception" not in said
    written = {path.name for path in (nextflow.folder / "results/test").iterdir()}
    assert written == {"pipeline_info"}
