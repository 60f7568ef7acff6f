"""Files that other tools read: CI, pre-commit, templates of issues."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


def read(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_continuous_integration_runs_what_the_project_runs():
    steps = read(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    used = [step["uses"] for step in steps if "uses" in step]
    for name in ("checkout", "setup-python", "setup-java"):
        assert any(action.startswith(f"actions/{name}@v") for action in used)


def test_hooks_run_what_make_lint_runs_and_download_nothing():
    repositories = read(".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    run = {re.search(r"\.venv/bin/(\S+)", hook["entry"])[1] for hook in hooks}
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert all(re.search(rf"\b{tool}\b", lint[1]) for tool in run)
    assert run == {"ruff", "lint-imports", "mypy"}


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_templates_of_issues_have_what_github_requires(name):
    template = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert template["name"]
    assert template["description"]
    assert [field for field in template["body"] if field.get("validations", {}).get("required")]
    ids = [field["id"] for field in template["body"]]
    assert len(ids) == len(set(ids))
