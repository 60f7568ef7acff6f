"""Fixtures of the tests that run on AWS, as it is on this machine."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from cloud import BUCKET, ENVIRONMENT, REGION, Aws, CloudNextflow, certificate, free_port
from driving import ROOT


@pytest.fixture(scope="session")
def docker_host(tmp_path_factory):
    """Address of a podman service, for the jobs of Batch; '' where podman runs no container."""
    if not shutil.which("podman"):
        yield ""
        return
    address = f"unix://{tmp_path_factory.mktemp('podman')}/podman.sock"
    env = {**os.environ, "CONTAINERS_CONF": str(ROOT / "tests/pipeline/containers.conf")}
    service = subprocess.Popen(
        ["podman", "system", "service", "--time=0", address],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield address
    service.terminate()
    service.wait()


@pytest.fixture(scope="session")
def aws(tmp_path_factory, docker_host):
    """The server, with the demo's data and model in a bucket."""
    if not ENVIRONMENT.exists():
        pytest.skip("no .venv-cloud: make test-cloud installs the server")
    if not all(shutil.which(program) for program in ("openssl", "keytool")):
        pytest.skip("no openssl or keytool, which make the server's certificate")
    folder, port = tmp_path_factory.mktemp("aws"), free_port()
    certificate(folder)
    url = f"https://127.0.0.1:{port}"
    env = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "planted-secret-7f3a",
        "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": url,
        "AWS_CA_BUNDLE": str(folder / "cert.pem"), "SSL_CERT_FILE": str(folder / "cert.pem"),
    }  # fmt: skip
    settings = {
        "DOCKER_HOST": docker_host, "MOTO_DOCKER_NETWORK_MODE": "host",
        "BATCH_REQUESTS": str(folder / "requests"),
    }  # fmt: skip
    secured = ("-s", "-c", folder / "cert.pem", "-k", folder / "key.pem")
    words = [ENVIRONMENT / "python", ROOT / "tests/cloud/aws_server.py", "-p", port, *secured]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [str(word) for word in words], env={**os.environ, **settings}, stdout=log, stderr=log
        )
    for _ in range(120):
        with socket.socket() as opened:
            if opened.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert server.poll() is None, (folder / "log").read_text()
        time.sleep(0.5)
    served = Aws(url, env, folder)
    served("s3", "mb", BUCKET)
    subprocess.run(
        [ROOT / "bin/c2s", "demo", "--outdir", folder / "data"],
        env={**os.environ, "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}, check=True,
    )  # fmt: skip
    served("s3", "sync", "--quiet", folder / "data", f"{BUCKET}/data")
    served("s3", "sync", "--quiet", ROOT / "assets/demo_model", f"{BUCKET}/models/demo")
    yield served
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def nextflow(tmp_path_factory, nextflow_home, aws) -> CloudNextflow:
    """A Nextflow that reads and writes S3."""
    return CloudNextflow(tmp_path_factory.mktemp("cloud"), nextflow_home, aws)


@pytest.fixture(scope="session")
def nextflow_home(tmp_path_factory) -> Path:
    """NXF_HOME of all runs."""
    return tmp_path_factory.mktemp("nextflow_home")
