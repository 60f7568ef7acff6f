"""Fetching a model from a server that speaks the hub's API."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "c2s_fetch.py"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Serves the files of `folder` as someone/model at the revisions main and v1."""

    folder: Path
    asked: list[str]
    cut: set[str]

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.path.split("?")[0]
        if path.startswith("/api/models/someone/model"):
            return self.send_api(path)
        prefix = f"/someone/model/resolve/{COMMIT}/"
        if path.startswith(prefix):
            return self.send_file(path.removeprefix(prefix), body)
        return self.send_error_code("RepoNotFound", 404)

    def send_error_code(self, code, status):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_api(self, path):
        if not path.endswith(("/main", "/v1", f"/{COMMIT}", "/model")):
            return self.send_error_code("RevisionNotFound", 404)
        files = sorted(file.name for file in self.folder.iterdir())
        if "/tree/" in path:
            content = [
                {"type": "file", "path": name, "oid": "0" * 40,
                 "size": (self.folder / name).stat().st_size}
                for name in files
            ]  # fmt: skip
        else:
            siblings = [{"rfilename": name} for name in files]
            content = {"id": "someone/model", "sha": COMMIT, "siblings": siblings}
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        return None

    def send_file(self, name, body):
        data = (self.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.asked.append(name)
            self.wfile.write(data[: len(data) // 2] if name in self.cut else data)
            if name in self.cut:
                self.close_connection = True

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def hub(demo_model, tmp_path):
    folder = shutil.copytree(demo_model, tmp_path / "repository")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    handler = type("Handler", (Hub,), {"folder": folder, "asked": [], "cut": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()


def fetch(url, outdir, *arguments):
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(outdir.parent / "hf")}
    environment |= {"HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, SCRIPT, *arguments, "--outdir", outdir]
    return subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=120
    )


def test_safetensors_and_tokenizer_only_and_the_commit_is_recorded(hub, demo_model, tmp_path):
    from c2sflow.model_files import describe_model

    done = fetch(hub.url, tmp_path / "model", "--model", "someone/model", "--model-revision", "v1")
    assert done.returncode == 0, done.stderr
    assert not {"pytorch_model.bin", "modeling_evil.py"} & set(hub.asked)
    record = describe_model(tmp_path / "model", "someone/model")
    assert (record["id"], record["revision"], record["commit"]) == ("someone/model", "v1", COMMIT)
    assert record["digest"] == describe_model(demo_model, "demo")["digest"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "someone/model", "--model-revision", "v9"), "no such revision"),
        (("--model", "someone/else"), "no such repository"),
    ],
)
def test_what_does_not_exist(hub, tmp_path, arguments, message):
    done = fetch(hub.url, tmp_path / "model", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "hf_secret" not in done.stderr + done.stdout


def test_repository_without_safetensors(hub, tmp_path):
    (hub.folder / "model.safetensors").unlink()
    done = fetch(hub.url, tmp_path / "model", "--model", "someone/model")
    assert done.returncode == 1
    assert "pickled weights" in done.stderr
    assert "Traceback" not in done.stderr


def test_interrupted_download_goes_on(hub, tmp_path):
    hub.cut.add("model.safetensors")
    done = fetch(hub.url, tmp_path / "model", "--model", "someone/model")
    assert done.returncode == 1
    assert "download failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model" / "c2s_source.json").exists()
    hub.cut.clear()
    hub.asked.clear()
    done = fetch(hub.url, tmp_path / "model", "--model", "someone/model")
    assert done.returncode == 0, done.stderr
    assert "tokenizer.json" not in hub.asked  # it had arrived


def test_no_network(tmp_path):
    done = fetch("http://127.0.0.1:9", tmp_path / "model", "--model", "someone/model")
    assert done.returncode == 1
    assert "download failed" in done.stderr
    assert "Traceback" not in done.stderr
