"""`nextflow inspect`: which image each step takes, without a run."""

import json
import shutil

import pytest
from driving import ROOT, Nextflow

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not shutil.which("podman"), reason="-profile podman asks for podman"),
]


def images(nextflow: Nextflow, *arguments: object) -> dict[str, str]:
    """Step to its image, without registry and tag."""
    answer = nextflow("inspect", ROOT, *arguments)
    assert answer.status == 0, answer.output
    listed = json.loads(answer.output[answer.output.index("{") :])["processes"]
    found = {}
    for process in listed:
        name = process["name"].split(":")[-1].lower()
        registry, image = process["container"].rsplit("/", 1)
        assert registry == "localhost"
        assert image.endswith(":0.1.0")
        found[name] = image.removeprefix("c2sflow-").removesuffix(":0.1.0")
    return found


@pytest.mark.parametrize("engine", ["24.10", "25.04", "25.04-strict"])
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_every_step_has_its_image(tmp_path, nextflow_home, engine, device):
    nextflow = Nextflow(tmp_path, nextflow_home, engine)
    found = images(nextflow, "-profile", "test,podman", "--device", device)
    assert {"validate", "qc", "model", "embed", "annotate", "evaluate", "report"} <= found.keys()
    torch = "" if device == "cuda" else "-cpu"
    for step, image in found.items():
        kind = (ROOT / "containers" / step).resolve().name
        assert image == (f"{step}{torch}" if kind == "gpu" else step)


def test_a_run_in_images_starts_without_a_warning(lenient):
    """Nextflow asks for an image before there are parameters, and would warn of those."""
    run = lenient.run("-profile", "podman", "--help", "min_genes")
    assert "undefined parameter" not in run.output
