"""What the images hold: the project's own versions, all that a step imports, and torch only where
a model runs; how they are built and published."""

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from importing import packages

ROOT = Path(__file__).resolve().parents[3]
CONTAINERS = ROOT / "containers"
STEPS = sorted(path.parent.name for path in (ROOT / "modules").glob("*/main.nf"))
FLOW = [ROOT / "main.nf", *(ROOT / "subworkflows").glob("*/main.nf")]
ALIASES = {
    name.lower() for path in FLOW for name in re.findall(r"\bas ([A-Z_]+)\b", path.read_text())
}
KINDS = ("cpu", "evaluate", "benchmark", "report", "census", "model-cpu", "gpu")
WITH_MODEL = ("model-cpu", "gpu")
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
    if kind == "census":  # which is not in the project's lock, and takes one botocore only
        own = {name: pin for name, pin in own.items() if name in project.keys() - {"botocore"}}
        assert len(own) > 30
    assert own.items() <= project.items()
    assert ("torch" in own) == (kind in WITH_MODEL)
    assert kind in WITH_MODEL or not MODEL_PACKAGES & set(own)
    assert kind not in WITH_MODEL or "scanpy" not in own
    assert ("triton" in own) == ("nvidia-cublas" in own) == (kind == "gpu")


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


@pytest.mark.parametrize("kind", KINDS)
def test_build_files(kind):
    """Two ways to the same image: the same steps in both files, and nobody's user in it."""
    docker = (CONTAINERS / kind / "Dockerfile").read_text().replace("\\\n", "")
    apptainer = (CONTAINERS / kind / "Apptainer.def").read_text()
    first, last = re.search("(?s)FROM .*?FROM", docker)[0], docker[docker.rindex("\nFROM") :]
    assert "\nUSER 1000:1000\n" in last
    assert "\nCOPY --from=packages /opt/c2sflow /opt/c2sflow\n" in last
    assert "/opt/build" not in last
    assert "/opt/system" in first

    system = re.search(r"^RUN /opt/system(.*)$", docker, re.MULTILINE)[1]
    assert re.findall(r"/opt/(?:build/)?system( .*)?$", apptainer, re.MULTILINE)[-1] == system
    title = re.search('install "(.*?)"', docker)[1]
    assert re.search('install "(.*?)"', apptainer)[1] == title
    labels = dict(re.findall(r'image\.(\w+)="(.*?)"', last))
    assert labels == {
        "title": title,
        "description": labels["description"],
        "licenses": "Apache-2.0",
    }
    own = dict(re.findall(r"image\.(\w+) (.*)", apptainer))
    assert own == {**labels, "version": "{{ VERSION }}"}
    copied = re.search(r"COPY (.*) /opt/build/", docker)[1].split()
    assert sorted(copied) == sorted(re.findall(r"^ +(\S+) /opt/build/(?!system)", apptainer, re.M))
    assert all((CONTAINERS / name).exists() for name in copied)


def test_every_kind_is_published():
    """By a tag that is the version: pinned, then built, listed, scanned, and only then pushed."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/images.yml").read_text())
    job = workflow["jobs"]["image"]
    assert sorted(job["strategy"]["matrix"]["kind"]) == sorted(KINDS)
    assert workflow[True]["push"]["tags"] == ["v*"]  # YAML reads `on` as true
    steps = [step.get("run", step.get("uses", "")) for step in job["steps"]]
    order = [
        next(number for number, step in enumerate(steps) if word in step)
        for word in ("pin", "build", "sbom", "pip-audit", "trivy", "docker login", "push")
    ]
    assert order == sorted(order)
    for step in job["steps"][order[-2] :]:
        assert step["if"] == "github.ref_type == 'tag'"
    commands = {name for step in steps for name in re.findall(r"containers/[a-z]+(?=[ )]|$)", step)}
    assert commands == {f"containers/{name}" for name in ("pin", "build", "version", "push")}
    assert all((ROOT / command).stat().st_mode & 0o100 for command in commands)
