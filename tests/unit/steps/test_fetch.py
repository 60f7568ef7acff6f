"""Fetching a model from a server that speaks the hub's API."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub import COMMIT, serving

SCRIPT = Path(__file__).resolve().parents[3] / "bin" / "c2s"


@pytest.fixture
def hub(demo_model, tmp_path):
    with serving(demo_model, tmp_path / "repository") as served:
        yield served


def fetch(url, outdir, *arguments):
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(outdir.parent / "hf")}
    environment |= {"HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, SCRIPT, "fetch", *arguments, "--outdir", outdir]
    return subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=120
    )


def test_safetensors_and_tokenizer_only_and_the_commit_is_recorded(hub, demo_model, tmp_path):
    from c2sflow.model.files import describe_model

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
