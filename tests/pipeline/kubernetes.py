"""The part of Kubernetes' interface that Nextflow asks for, served on this machine.

Pods are run as processes of this machine, whose files are those of the claim; their specifications
are kept. It is no Kubernetes: what a scheduler, a volume or an image would make of a pod is not
seen.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@dataclass
class Cluster:
    """What the server holds."""

    claim: str
    evict: str = ""  # the first pod of this process is lost with its node
    pods: dict[str, dict] = field(default_factory=dict)
    running: dict[str, subprocess.Popen] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)

    def create(self, pod: dict) -> dict:
        """Keep a pod, and run what its container runs."""
        name = pod["metadata"]["name"]
        (container,) = pod["spec"]["containers"]
        self.pods[name] = pod
        process = pod["metadata"]["labels"]["nextflow.io/processName"]
        if process == self.evict and not self.lost:
            self.lost.add(name)
        else:
            words = [*container.get("command", []), *container.get("args", [])]
            self.running[name] = subprocess.Popen(words)
        return pod

    def status(self, name: str) -> dict | None:
        """A pod with its state, or None for one that was lost."""
        if name not in self.running:
            return None
        code = self.running[name].poll()
        times = {"startedAt": "2026-01-01T00:00:00Z"}
        state = {"running": times}
        if code is not None:
            state = {"terminated": {**times, "finishedAt": times["startedAt"], "exitCode": code}}
        statuses = [{"name": name, "state": state}]
        return {**self.pods[name], "status": {"phase": "Running", "containerStatuses": statuses}}


def handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    """What answers the requests for a cluster."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body: dict | str, status: int = HTTPStatus.OK) -> None:
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def not_found(self) -> None:
            details = {"kind": self.path.split("/")[5], "name": self.path.split("/")[6]}
            failure = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            self.answer({**failure, "details": details}, HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            pod = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(cluster.create(pod), HTTPStatus.CREATED)

        def do_GET(self) -> None:
            kind, name, *part = self.path.split("?")[0].split("/")[5:]
            if kind == "persistentvolumeclaims" and name == cluster.claim:
                self.answer({"kind": "PersistentVolumeClaim", "metadata": {"name": name}})
            elif kind == "pods" and part == ["log"]:
                self.answer("")
            elif kind == "pods" and (pod := cluster.status(name)):
                self.answer(pod)
            else:
                self.not_found()

        def do_DELETE(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer({"kind": "Status", "status": "Success"})

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serve(cluster: Cluster, folder: Path) -> Iterator[Path]:
    """Serve a cluster; gives the configuration by which clients find it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(cluster)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        path = folder / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "current-context": "here",
                    "contexts": [{"name": "here", "context": {"cluster": "one", "user": "me"}}],
                    "clusters": [{"name": "one", "cluster": {"server": url}}],
                    "users": [{"name": "me", "user": {"token": "nobody's"}}],
                }
            )
        )
        try:
            yield path
        finally:
            server.shutdown()
            for process in cluster.running.values():
                process.kill()
                process.wait()
