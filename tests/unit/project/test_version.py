"""One version, the package's: what else names it agrees, and a step of another version stops."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from c2sflow import __version__

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("nextflow.config", r"^manifest \{[^}]*\bversion = '(.+)'"),
        ("conf/base.config", r"\bC2SFLOW_VERSION = '(.+?)'"),
        ("CITATION.cff", r"^version: (.+)$"),
    ],
)
def test_every_file_names_the_version_of_the_package(path, pattern):
    assert re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE) == [__version__]


def test_the_changelog_has_the_version_below_what_is_unreleased():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert headings[1].startswith(f"[{__version__}]")


def test_the_citation_is_yaml_with_what_the_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


@pytest.mark.parametrize(("expected", "status"), [(__version__, 0), ("9.9.9", 1)])
def test_a_step_of_another_version_stops_with_one_line(expected, status):
    """A `c2s` that pip installed is before the pipeline's own on PATH."""
    done = subprocess.run(
        [sys.executable, ROOT / "bin/c2s", "versions", "numpy"],
        env={**os.environ, "C2SFLOW_VERSION": expected},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    if status:
        assert done.stderr == (
            f"error: c2sflow {__version__} is installed where c2sflow {expected} runs: uninstall "
            "it (pip uninstall c2sflow) or install the same version\n"
        )
    else:
        assert "numpy" in done.stdout
