"""The documents: links lead somewhere, and the pictures show the code as it is."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            other = page.parent / path if path else page
            assert other.exists(), target
            assert not anchor or anchor in anchors(other), target


def test_the_picture_shows_every_step():
    picture = (ROOT / "docs/images/c2sflow.svg").read_text(encoding="utf-8")
    drawn = re.findall(r'<text x="\d+" y="\d+">(\w+)</text>', picture)
    steps = [path.parent.name.upper() for path in ROOT.glob("modules/*/main.nf")]
    assert sorted(drawn) == sorted(steps)


def test_the_picture_of_the_packages_is_what_the_tool_draws():
    """If this fails after an import or a docstring changed: make picture."""
    tool = ROOT / "docs/images/draw_rooms.py"
    spec = importlib.util.spec_from_file_location("draw_rooms", tool)
    draw_rooms = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw_rooms)
    assert (ROOT / "docs/images/rooms.svg").read_text(encoding="utf-8") == draw_rooms.draw()


def test_pages_of_the_library_are_made_from_its_docstrings(tmp_path):
    """With the options of `make docs`, for what a notebook imports."""
    made = re.search(r"\bpdoc (.+?) --output-directory", (ROOT / "Makefile").read_text())
    subprocess.run(
        ["pdoc", *made[1].split(), "--output-directory", tmp_path, "c2sflow.api"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "bin")},
        check=True,
    )
    page = (tmp_path / "c2sflow/api/cell2sen.html").read_text(encoding="utf-8")
    for name in ("process_data", "get_embeddings", "get_annotations", "get_perturbations"):
        assert f'id="Cell2Sen.{name}"' in page
    assert "Parameters" in page
