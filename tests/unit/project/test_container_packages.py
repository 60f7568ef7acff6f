"""What the images hold: the project's own versions, all that a step imports, and torch only where
a model runs."""

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from importing import packages

ROOT = Path(__file__).resolve().parents[3]
CONTAINERS = ROOT / "containers"
STEPS = sorted(path.parent.name for path in (ROOT / "modules").glob("*/main.nf"))
FLOW = [ROOT / "main.nf", *(ROOT / "subworkflows").glob("*/main.nf")]
ALIASES = {
    name.lower() for path in FLOW for name in re.findall(r"\bas ([A-Z_]+)\b", path.read_text())
}
KINDS = ("cpu", "evaluate", "benchmark", "report", "gpu")
PROVIDERS = packages_distributions()
MODEL_PACKAGES = {"torch", "transformers", "accelerate", "bitsandbytes", "peft"}


def pins(lock: Path) -> dict[str, str]:
    """Package to its version, marker and hashes."""
    text = re.sub(r"^ *#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    entries = re.findall(r"^(\S+)==((?:.*\\\n)*.*)", text, re.MULTILINE)
    return {name: " ".join(rest.replace("\\\n", "").split()) for name, rest in entries}


def test_every_step_has_an_image():
    assert len(STEPS) > 10
    for step in {*STEPS, *ALIASES}:
        folder = (CONTAINERS / step).resolve()
        assert folder.name in KINDS, step
        assert {"Dockerfile", "Apptainer.def", "requirements.lock"} <= {
            path.name for path in folder.iterdir()
        }


@pytest.mark.parametrize("kind", KINDS)
def test_packages_are_those_of_the_lock(kind):
    project, own = pins(ROOT / "requirements.lock"), pins(CONTAINERS / kind / "requirements.lock")
    assert len(own) > 30
    assert own.items() <= project.items()
    assert ("torch" in own) == (kind == "gpu")
    assert kind == "gpu" or not MODEL_PACKAGES & set(own)
    assert kind != "gpu" or "scanpy" not in own


@pytest.mark.parametrize("step", STEPS)
def test_a_step_finds_what_it_imports(step):
    held = pins(CONTAINERS / step / "requirements.lock")
    foreign = packages(ROOT / f"bin/c2sflow/steps/{step}.py") - sys.stdlib_module_names
    foreign = {name for name in foreign if not name.startswith("c2s")}
    assert foreign
    for name in foreign:
        providers = {found.lower().replace("_", "-") for found in PROVIDERS.get(name, [name])}
        assert providers & set(held), f"{step} imports {name}"


def test_versions_agree():
    manifest = re.search(r"version = '(.+)'", (ROOT / "nextflow.config").read_text())[1]
    for name in ("containers", "sif", "charliecloud"):
        text = (ROOT / f"conf/{name}.config").read_text()
        assert set(re.findall(r"\d+\.\d+\.\d+", text)) == {manifest}
