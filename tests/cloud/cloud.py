"""AWS on this machine: a real server of its interfaces, and a Nextflow that uses it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from driving import ROOT, Nextflow, Run

ENVIRONMENT = ROOT / ".venv-cloud/bin"
PLUGIN = ROOT / ".nextflow-engine/25.04.4/plugins/nf-amazon-2.15.0"
BUCKET = "s3://lab"
REGION = "us-east-1"  # what the SDK signs for where the host's name has no region


@dataclass
class Aws:
    """The server: its address, the environment of its clients, and its recorded requests."""

    url: str
    env: dict[str, str]
    folder: Path

    def __call__(self, *arguments: object) -> str:
        """The `aws` command."""
        words = [ENVIRONMENT / "aws", *arguments]
        done = subprocess.run(
            [str(word) for word in words],
            env={**os.environ, **self.env}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def keys(self, folder: str) -> set[str]:
        """Names of the objects below a folder of the bucket, without the marks of folders."""
        where = ("--bucket", BUCKET.removeprefix("s3://"), "--prefix", f"{folder}/")
        listed = self("s3api", "list-objects-v2", *where, "--query", "Contents[].Key")
        names = {name.removeprefix(f"{folder}/") for name in json.loads(listed or "null") or []}
        return {name for name in names if name and not name.endswith("/")}


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def certificate(folder: Path) -> None:
    """A certificate, and the store by which Java trusts it: its Batch client knows no http."""
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    made = ("-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem")
    store = ("-keystore", "trust.p12", "-storetype", "PKCS12", "-storepass", "changeit")
    for command in (
        ["openssl", "req", "-x509", *made, *subject],
        ["keytool", "-importcert", "-noprompt", "-file", "cert.pem", *store],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


class CloudNextflow(Nextflow):
    """Nextflow with its plugin for AWS, and settings that name the server."""

    def __init__(self, folder: Path, home: Path, aws: Aws):
        if not PLUGIN.exists():
            pytest.skip(
                f"no plugin nf-amazon for Nextflow at {PLUGIN}: setup/nf_amazon.sh makes it"
            )
        super().__init__(folder, home, "25.04")
        trust = f"-Djavax.net.ssl.trustStore={aws.folder}/trust.p12"
        own = {"NXF_OPTS": f"{trust} -Djavax.net.ssl.trustStorePassword=changeit"}
        # Tasks that store their results outside of the work folder call `aws`.
        commands = folder / "commands"
        commands.mkdir()
        (commands / "aws").symlink_to(ENVIRONMENT / "aws")
        own["PATH"] = f"{commands}{os.pathsep}{self.env['PATH']}"
        self.env |= aws.env | own
        self.config = folder / "aws.config"
        self.config.write_text(
            f"aws {{\n    region = '{REGION}'\n    client {{\n        endpoint = '{aws.url}'\n"
            "        s3PathStyleAccess = true\n    }\n}\n"
        )

    def run(self, *arguments: object, script: Path = ROOT, status: int | None = 0) -> Run:
        """`nextflow run` with these settings."""
        own = ("-c", self.config, "-plugins", PLUGIN.name.replace("amazon-", "amazon@"))
        return super().run(*own, *arguments, script=script, status=status)


class Batch:
    """AWS Batch with two queues, whose jobs run in containers that hold this machine's programs."""

    image = "localhost/c2sflow-of-this-machine:0.1.0"

    def __init__(self, folder: Path, aws: Aws):
        self.aws, self.folder = aws, folder
        self._make_image()
        self._make_queues()
        self._make_command()

    def _make_image(self) -> None:
        """An image of empty folders, which get what this machine has as volumes."""
        root = self.folder / "image"
        for name in ("usr", "etc", "proc", "sys", "dev", "tmp", "var/tmp", "root", "home"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        subprocess.run(["tar", "-C", root, "-cf", self.folder / "image.tar", "."], check=True)
        path = f"ENV PATH={ROOT / '.venv/bin'}:/usr/local/bin:/usr/bin:/bin"
        words = ["podman", "import", "--quiet", "--change", path, self.folder / "image.tar"]
        subprocess.run([*words, self.image], check=True, capture_output=True)

    def _make_queues(self) -> None:
        create = ("--state", "ENABLED", "--type", "UNMANAGED", "--query", "computeEnvironmentArn")
        name = ("--role-name", "batch", "--assume-role-policy-document", "{}")
        role = self.aws("iam", "create-role", *name, "--query", "Role.Arn", "--output", "text")
        environment = self.aws(
            *("batch", "create-compute-environment", "--compute-environment-name", "all", *create),
            *("--service-role", role.strip(), "--output", "text"),
        )
        order = f"order=1,computeEnvironment={environment.strip()}"
        for queue in ("cpu", "gpu"):
            self.aws(
                *("batch", "create-job-queue", "--job-queue-name", queue, "--state", "ENABLED"),
                *("--priority", 1, "--compute-environment-order", order),
            )

    def _make_command(self) -> None:
        """The `aws` of the machine on which jobs run; a role of it would give what it exports."""
        command = self.folder / "cli/bin/aws"
        command.parent.mkdir(parents=True)
        lines = [f"export {name}='{value}'" for name, value in self.aws.env.items()]
        command.write_text("\n".join(["#!/bin/bash", *lines, f'exec {ENVIRONMENT}/aws "$@"\n']))
        command.chmod(0o755)

    def configure(self, nextflow: CloudNextflow) -> None:
        """Let `nextflow` use these queues: its plugin takes addresses from a file of its SDK."""
        services = ("batch", "ecs", "ec2", "logs", "sts", "iam", "s3")
        host = {"hostname": self.aws.url.removeprefix("https://")}
        partition = {
            "partition": "aws", "partitionName": "here", "dnsSuffix": "here",
            "regionRegex": f"^{REGION}$", "regions": {REGION: {"description": "here"}},
            "defaults": {"hostname": "{service}.{dnsSuffix}", "protocols": ["https"],
                         "signatureVersions": ["v4"]},
            "services": {name: {"endpoints": {REGION: host}} for name in services},
        }  # fmt: skip
        plugin = self.folder / "plugins" / PLUGIN.name
        shutil.copytree(PLUGIN / "classes", plugin / "classes")
        (plugin / "lib").symlink_to(PLUGIN / "lib")
        endpoints = plugin / "classes/com/amazonaws/partitions/override/endpoints.json"
        endpoints.parent.mkdir(parents=True)
        endpoints.write_text(json.dumps({"version": 3, "partitions": [partition]}))
        nextflow.env["NXF_PLUGINS_DIR"] = str(plugin.parent)
        here = ("/usr", "/etc", ROOT, (ROOT / ".venv").resolve(), sys.base_prefix)
        mounts = [f"'{path}:{path}:ro'" for path in (*here, self.aws.folder)]
        with nextflow.config.open("a") as file:
            file.write(
                f"aws.batch.volumes = [{', '.join(mounts)}]\n"
                f"process.container = '{self.image}'\n"
                "executor {\n    pollInterval = '1 sec'\n    queueSize = 3\n"
                "    submitRateLimit = '60/1min'\n}\n"
            )

    def requests(self, kind: str) -> list[dict]:
        """What was asked of Batch: `registerjobdefinition` or `submitjob`."""
        lines = (self.aws.folder / "requests").read_text().splitlines()
        return [request[kind] for request in map(json.loads, lines) if kind in request]
