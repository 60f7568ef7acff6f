"""The steps in the images of containers/, built here: the same result as without, as nobody's user.

`make test` builds the images without torch, and runs the steps with a model in theirs only if it is
there already; `make containers test-containers` builds and runs all of them, with the whole demo.
With `CONTAINERS=gpu` the image with CUDA is built, too, and its size and list are tested.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import textwrap
import time
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
from comparing import check_same_cells
from driving import LENIENT, ROOT, Nextflow, copy_project

pytestmark = pytest.mark.pipeline

EVERYTHING = "CONTAINERS" in os.environ
# Steps that run beside the images in both runs are left out, where the result allows it.
ARGUMENTS = ("demo",) if EVERYTHING else ("test", "--annotate", "false", "--attention_maps", 0)
GPU = os.environ.get("CONTAINERS") == "gpu"
WITHOUT_TORCH = ("cpu", "evaluate", "benchmark", "report", "census")
KINDS = (*WITHOUT_TORCH, *["model-cpu"] * EVERYTHING, *["gpu"] * GPU)
# Torch, of which half is for CUDA; CUDA; and the polars that cell-eval2 is written in.
MOST_BYTES = {"model-cpu": 2.5e9, "gpu": 7.5e9, "benchmark": 1.2e9}
# Steps with a model: their folder is a link to that of the kind.
GPU_STEPS = {
    path.name.upper()
    for path in (ROOT / "containers").iterdir()
    if path.is_symlink() and path.resolve().name == "gpu"
}
VERSION = "0.1.0"
# Somebody who has no name, no home and no rights in the image.
USER = "12345:12345"


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(["podman", *arguments], capture_output=True, text=True, check=check)


def has(image: str) -> bool:
    return podman("image", "exists", image, check=False).returncode == 0


@pytest.fixture(scope="module", autouse=True)
def images():
    """The images of KINDS, built or found unchanged."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed: no image was built or run")
    base = os.environ.get("BASE_IMAGE", "localhost/c2sflow-base")
    if not has(base):
        pytest.skip(f"no base image {base}: containers/base-image makes it, or set BASE_IMAGE")
    if podman("run", "--rm", base, "true", check=False).returncode != 0:
        os.environ["CONTAINERS_CONF"] = str(ROOT / "tests/pipeline/containers.conf")
        started = podman("run", "--rm", base, "true", check=False)
        if started.returncode != 0:
            pytest.skip(f"podman starts no container here: {started.stderr.strip()}")
    built = subprocess.run(
        [ROOT / "containers/build", *KINDS],
        env={**os.environ, "ENGINE": "podman", "BASE_IMAGE": base, "REGISTRY": "localhost"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-3000:]


@pytest.mark.parametrize("kind", KINDS)
def test_image(kind):
    name = f"localhost/c2sflow-{kind}:{VERSION}"
    [image] = json.loads(podman("image", "inspect", name).stdout)
    assert image["Size"] < MOST_BYTES.get(kind, 1e9)
    labels = image["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.title"].startswith("c2sflow")
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.base.name"].endswith("base")
    assert image["User"] == "1000:1000"
    script = (
        "command -v ps bash; python3 -c 'import importlib.util as u; print(u.find_spec(\"torch\"))'"
    )
    run = ("run", "--rm", "--read-only", "--network", "none")
    said = podman(*run, "--user", USER, name, "bash", "-c", script).stdout.split()
    assert said[0].endswith("/ps")
    assert (said[2] == "None") == (kind in WITHOUT_TORCH)
    assert podman(*run, name, "id", "-u").stdout == "1000\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_sbom_is_what_is_installed(kind):
    script = """
    cat /opt/c2sflow/sbom.cdx.json
    echo; echo ----
    dpkg-query --show --showformat '${db:Status-Abbrev} deb:${Package} ${Version}\\n' |
        sed -n 's/^ii  *//p'
    of_base=$(PATH=/usr/local/bin:/usr/bin command -v python3)
    for python in /opt/c2sflow/venv/bin/python $of_base; do
        $python -c 'import importlib.metadata as m
    for package in m.distributions(): print("pypi:" + package.name, package.version)'
    done
    """
    name = f"localhost/c2sflow-{kind}:{VERSION}"
    said = podman("run", "--rm", name, "bash", "-c", textwrap.dedent(script)).stdout
    bom, listed = said.split("\n----\n")
    bom = json.loads(bom)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    about = bom["metadata"]["component"]
    assert (about["type"], about["version"]) == ("container", VERSION)
    found = {
        f"{entry['purl'][4:].split('/')[0]}:{entry['name']} {entry['version']}"
        for entry in bom["components"]
        if entry.get("purl", "").startswith(("pkg:deb/", "pkg:pypi/"))
    }
    assert found == set(listed.split("\n")) - {""}
    assert {"deb:procps", "deb:libc6", "pypi:numpy"} <= {entry.split()[0] for entry in found}
    assert "operating-system" in {entry["type"] for entry in bom["components"]}


@pytest.fixture
def registry(tmp_path):
    """A registry of images: its address, and the environment that trusts its certificate."""
    missing = [name for name in ("docker-registry", "skopeo", "openssl") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (apt-get install)")
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{opened.getsockname()[1]}"
    made = ("-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem")
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(
        ["openssl", "req", *made, *subject], cwd=tmp_path, check=True, capture_output=True
    )
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "stored")}},
        "http": {"addr": address, "tls": {"certificate": "cert.pem", "key": "key.pem"}},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))  # JSON is YAML
    with (tmp_path / "log").open("w") as log:
        served = subprocess.Popen(
            ["docker-registry", "serve", "registry.yml"], cwd=tmp_path, stdout=log, stderr=log
        )
    for _ in range(60):
        with socket.socket() as opened:
            if opened.connect_ex((address.split(":")[0], int(address.split(":")[1]))) == 0:
                break
        assert served.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.5)
    yield address, {**os.environ, "SSL_CERT_FILE": str(tmp_path / "cert.pem")}
    served.terminate()
    served.wait()
    of_it = podman("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    podman("rmi", "--force", *[name for name in of_it if name.startswith(address)])


def test_pinned_built_and_pushed(registry, tmp_path):
    """What a tag makes GitHub do, with a registry of this machine: images that name their base."""
    address, env = registry
    folder = tmp_path / "project/containers"
    shutil.copytree(ROOT / "containers", folder, symlinks=True)
    shutil.copy(ROOT / "nextflow.config", folder.parent)

    def call(*words: str) -> str:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, check=False,
            env={**env, "ENGINE": "podman", "REGISTRY": f"{address}/lab"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    base = f"{address}/base:1"
    podman("tag", os.environ.get("BASE_IMAGE", "localhost/c2sflow-base"), base)
    call("podman", "push", base)
    podman("rmi", base)
    pinned = call("./pin", base).strip()
    manifest = call("skopeo", "inspect", "--raw", f"docker://{base}").encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert pinned == f"{base}@{digest}"
    assert sorted(folder.glob("base.*")) == [folder / "base.pin"]

    call("./build", "cpu")
    call("./push", "cpu")
    names = call("./names", "cpu").split()
    assert {"cpu", "merge", "qc"} <= set(names)
    stored = [f"{address}/lab/c2sflow-{name}:{VERSION}" for name in names]
    podman("rmi", *stored)
    about = [json.loads(call("skopeo", "inspect", f"docker://{name}")) for name in stored]
    assert len({image["Digest"] for image in about}) == 1
    labels = about[0]["Labels"]
    assert labels["org.opencontainers.image.base.digest"] == digest
    assert labels["org.opencontainers.image.base.name"] == base
    said = call("podman", "run", "--rm", "--network", "none", stored[0], "python3", "-c",
                "import scanpy; print('scanpy')")  # fmt: skip
    assert said == "scanpy\n"


@pytest.fixture(scope="module")
def without(tmp_path_factory, nextflow_home, warm, unrecorded) -> Nextflow:
    folder = tmp_path_factory.mktemp("without")
    nextflow = Nextflow(folder, nextflow_home, warm=warm, project=unrecorded)
    nextflow.run("-profile", *ARGUMENTS, "--outdir", "results")
    return nextflow


def test_results_are_those_without_containers(without, open_folder, nextflow_home):
    with_gpu = all(has(f"localhost/c2sflow-{step.lower()}-cpu:{VERSION}") for step in GPU_STEPS)
    outside = "{ container = null }"
    beside = f"process {{ withLabel: process_gpu {outside}\nwithName: MODEL {outside} }}"
    config = open_folder / "user.config"
    config.write_text(
        f"podman.runOptions = '--user {USER} --network none'\n{'' if with_gpu else beside}\n"
    )
    nextflow = Nextflow(open_folder, nextflow_home, LENIENT)
    project = copy_project(open_folder / "project")
    mask = os.umask(0)  # the task's folder is ours: that user may write there
    try:
        profiles = f"{ARGUMENTS[0]},podman"
        arguments = (profiles, *ARGUMENTS[1:], "--outdir", "results", "-c", config)
        nextflow.run("-profile", *arguments, script=project)
    finally:
        os.umask(mask)

    trace = pd.read_csv(open_folder / "results/pipeline_info/execution_trace.tsv", sep="\t")
    for process, folder in zip(trace["process"], trace["workdir"], strict=True):
        command = (Path(folder) / ".command.run").read_text()
        process = process.split(":")[-1]
        torch = "-cpu" if process in GPU_STEPS else ""
        contained = f"localhost/c2sflow-{process.lower()}{torch}:{VERSION}" in command
        assert contained == (with_gpu or process not in GPU_STEPS), process

    for name in ("c2s.h5ad", "c2s_perturbed.h5ad"):
        found, expected = (
            ad.read_h5ad(folder / "results" / name) for folder in (open_folder, without.folder)
        )
        check_same_cells(found, expected, obs_rtol=1e-4)
        assert found.uns["c2s"]["software"] == expected.uns["c2s"]["software"]
    assert "</html>" in (open_folder / "results/report.html").read_text(encoding="utf-8")
