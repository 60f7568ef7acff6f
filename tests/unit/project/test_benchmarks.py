"""Benchmarks: their results hold what they were measured with, and what they import exists."""

import ast
import json
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import measure  # noqa: E402
import measured  # noqa: E402

SCRIPTS = [path for path in sorted(BENCHMARKS.glob("*.py")) if "@click.command" in path.read_text()]
SOURCES = sorted(BENCHMARKS.rglob("*.py"))


def library_names(tree):
    """Module and name of all that a script imports of the library, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("c2sflow"):
            yield from ((node.module, name.name) for name in node.names)
        elif isinstance(node, ast.Import):
            yield from ((n.name, "__name__") for n in node.names if n.name.startswith("c2sflow"))


def found(module):
    """Where a module is; None if it is nowhere."""
    try:
        return find_spec(module)
    except ModuleNotFoundError:  # its package is not there
        return None


@cache
def names_of(module):
    """What a module of the library defines or imports at its top, read without running it."""
    spec = found(module)
    if spec is None:
        return set()
    names = {"__name__"}
    for node in ast.parse(Path(spec.origin).read_text()).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Import() | ast.ImportFrom():
                names.update(name.asname or name.name for name in node.names)
            case ast.Assign():
                names.update(ast.unparse(target) for target in node.targets)
            case ast.AnnAssign():
                names.add(ast.unparse(node.target))
    return names


@pytest.fixture
def clone(tmp_path):
    """A git repository of one commit, and what runs git in it."""

    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "code.py").write_text("1")
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "benchmarks/results/a.json").write_text("1")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    return tmp_path, git


def test_a_result_holds_commit_machine_and_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    measure.save("cells", {"seconds": 1.5})
    made = json.loads((tmp_path / "cells.json").read_text())
    assert made["seconds"] == 1.5
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made["measured"]["date"])
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", made["measured"]["commit"])
    machine = made["measured"]["machine"]
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0.1
    assert isinstance(machine["gpus"], list)
    versions = made["measured"]["versions"]
    assert versions["python"] == sys.version.split()[0]
    for name in ("torch", "transformers", "numpy", "scanpy", "anndata"):
        assert versions[name] == version(name)
    assert versions["nextflow"]


def test_the_commit_is_that_of_the_code_and_changes_of_it_are_named(clone):
    folder, git = clone
    head = git("rev-parse", "HEAD")
    assert measured.commit(folder) == head
    (folder / "benchmarks/results/a.json").write_text("2")
    (folder / "notes.txt").write_text("not under version control")
    assert measured.commit(folder) == head
    (folder / "code.py").write_text("2")
    assert measured.commit(folder) == f"{head}+changes"


def test_outside_a_clone_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert measured.commit(tmp_path) == "unknown"


def test_a_program_that_is_missing_or_fails_gives_nothing():
    assert measured.output(["no-such-program"]) == ""
    assert measured.output(["false"]) == ""


def test_the_sentence_names_the_commit_and_the_versions():
    text = measured.sentence()
    assert measured.measured()["commit"][:12] in text
    assert f"torch {version('torch')}" in text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_records_what_it_was_measured_with(script):
    """Through `save` of measure.py or `measured` itself; the demo model's card has a sentence."""
    text = script.read_text()
    if script.stem == "install_demo_model":
        text = (BENCHMARKS / "demo_model/card.py").read_text()
    assert re.search(r"^ *(from|import) measured?\b.*\b(save|measured|sentence)\b", text, re.M)
    assert re.search(r"\b(save|measured|sentence)\(", text)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_library_exists(source):
    """Most of it is imported within functions, which no other test calls."""
    missing = [
        f"{module}.{name}"
        for module, name in library_names(ast.parse(source.read_text()))
        if name not in names_of(module) and not found(f"{module}.{name}")
    ]
    assert not missing
