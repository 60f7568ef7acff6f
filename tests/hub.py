"""A server on this machine that speaks as much of the hub's API as fetching a model needs."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

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


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[type[Hub]]:
    """Serve a copy of `model`, made in `folder`, with files that nobody should ask for."""
    shutil.copytree(model, folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    handler = type("Handler", (Hub,), {"folder": folder, "asked": [], "cut": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield handler
    finally:
        server.shutdown()
        server.server_close()
