"""A model of the hub and the demo's data on their way in, and what may go wrong there."""

import pandas as pd
import pytest
from driving import INJECT, ROOT, copy_project
from hub import COMMIT, serving

from c2sflow.model.files import describe_model

MODEL = ROOT / "assets/demo_model"
# The two steps that run before all others and know nothing of each other.
MAIN = """
include { DEMO } from './modules/demo'
include { FETCH } from './modules/fetch'
include { code } from './modules/code'
workflow {
    DEMO(code('demo'))
    FETCH(channel.value([model: params.model, model_revision: params.model_revision]))
}
"""
EACH_DIES_ONCE = f"""
process.beforeScript = {{ "{INJECT}" + (task.attempt == 1 ? 'kill' : '') }}
"""
pytestmark = pytest.mark.pipeline


@pytest.fixture
def hub(tmp_path):
    with serving(MODEL, tmp_path / "repository") as served:
        yield served


@pytest.fixture
def fetch(nextflow, hub):
    project = copy_project(nextflow.folder / "project")
    (project / "main.nf").write_text(MAIN)
    nextflow.env |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_secret"}
    nextflow.env |= {"HF_HOME": str(nextflow.folder / "hf")}

    def fetch(revision, *arguments, status=None):
        options = ("--model", "someone/model", "--model_revision", revision, *arguments)
        run = nextflow.run("-resume", *options, script=project, status=status)
        assert status == 0 or run.status != 0
        assert "Traceback" not in run.output
        return run

    return fetch


def test_downloads_that_are_killed_or_cut_leave_nothing_and_go_on(fetch, hub, nextflow):
    cache = nextflow.folder / "model_cache"
    config = nextflow.folder / "faults.config"
    config.write_text(EACH_DIES_ONCE)
    fetch("main", "-c", config, status=0)
    trace = pd.read_csv(nextflow.folder / "results/pipeline_info/execution_trace.tsv", sep="\t")
    assert trace.groupby("process")["exit"].agg(list).to_dict() == {
        "DEMO": [137, 0],
        "FETCH": [137, 0],
    }

    hub.cut.add("model.safetensors")
    said = fetch("v1").output
    assert "download failed" in said
    assert "Run again with -resume" in said
    hub.cut.clear()
    assert {path.name for path in cache.iterdir()} == {"someone--model@main"}

    run = fetch("v1", status=0)
    assert run.submitted == {"FETCH": 1}
    assert run.cached == {"DEMO": 1}
    for revision in ("main", "v1"):
        made = describe_model(cache / f"someone--model@{revision}", "x")
        assert (made["id"], made["revision"], made["commit"]) == ("someone/model", revision, COMMIT)
        assert made["digest"] == describe_model(MODEL, "x")["digest"]

    # Neither weights that could run code nor the token are anywhere.
    assert not {"pytorch_model.bin", "modeling_evil.py"} & set(hub.asked)
    texts = [path for path in nextflow.folder.rglob("*") if path.is_file() and path.stat().st_size]
    assert not [path for path in texts if b"hf_secret" in path.read_bytes()]
