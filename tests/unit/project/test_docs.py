"""The documents: links lead somewhere, and the pictures show the code as it is."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import c2sflow

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


def script(path: str):
    """A tool of the documents, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_a_page_names_exist(page):
    """Those with an underscore are the pipeline's; other programs use hyphens."""
    schema = json.loads((ROOT / "nextflow_schema.json").read_text(encoding="utf-8"))
    known = {name for group in schema["$defs"].values() for name in group["properties"]}
    text = page.read_text(encoding="utf-8")
    if page.name in ("CHANGELOG.md", "CONTRIBUTING.md"):  # the past, and an invented example
        return
    assert set(re.findall(r"(?<![\w-])--([a-z]+(?:_[a-z]+)+)", text)) <= known
    for command in re.findall(r"nextflow run (?:.*\\\n)*.*", text):
        for name in re.findall(r"(?<!\S)--([a-z_]+)", command.split("`")[0]):
            assert name in known, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_scripts_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    if page.name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        return
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^    (.+)$", text, re.MULTILINE)
    code += "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).splitlines()
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    steps = {path.stem for path in (ROOT / "bin/c2sflow/steps").glob("*.py")}
    for line in code:
        for target in re.findall(r"(?:^|[ ;])make ([a-z][a-z0-9-]*)", line):
            assert target in targets, line
        for step in re.findall(r"(?:^|[ ;])c2s ([a-z_]+)", line):
            assert step in steps | {"step", "versions"}, line
        for path in re.findall(r"(?<![\w/.])(?:docs|benchmarks|tests|bin)/[\w/.-]+\.py\b", line):
            assert (ROOT / path).exists(), line


@pytest.mark.parametrize("page", ["README.md", "docs/planning.md"])
def test_tables_of_plans_are_computed_from_what_was_measured(page):
    """If this fails after a new measurement: make docs."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "<!-- memory -->" in text
    assert script("docs/planning.py").filled(text) == text


def test_the_arithmetic_of_plans_agrees_with_the_benchmark():
    planning = script("docs/planning.py")
    run = planning.results("gpu_kernels")["embedding"]
    way = run["second run"]["kernels"]
    reached = planning.embedding_rate(planning.MEASURED) / run["matmul_flops"]["second run"]
    assert reached == pytest.approx(way["utilisation"], rel=0.02)
    # On the card that was measured, the cells that were measured take as long as they did.
    model = planning.MODELS["Gemma-2-2B"]
    tokens = run["tokens"] / run["cells"]
    seconds = run["cells"] * model.flops(tokens) / planning.embedding_rate(planning.MEASURED)
    assert seconds == pytest.approx(run["tokens"] / way["tokens_per_second"], rel=1e-6)
    assert model.gib("bfloat16") == pytest.approx(4.87, abs=0.01)
    assert planning.smallest_card(16.8) == "24 GB"
    assert planning.smallest_card(200) == "several"


def aliases() -> dict[str, set[str]]:
    """By process, the other names that it is included by, where its label decides its image."""
    text = (ROOT / "main.nf").read_text() + (ROOT / "subworkflows/annotation/main.nf").read_text()
    found: dict[str, set[str]] = {}
    for name, other in re.findall(r"\b([A-Z_]+) as ([A-Z_]+)\b", text):
        found.setdefault(name, set()).add(other)
    return found


def labels() -> dict[str, set[str]]:
    """By label, the processes that have it."""
    found: dict[str, set[str]] = {}
    for module in ROOT.glob("modules/*/main.nf"):
        text = module.read_text(encoding="utf-8")
        name = re.search(r"^process (\w+)", text, re.MULTILINE)[1]
        names = {name, *aliases().get(name, ())}
        for label in re.findall(r"^    label '(\w+)'", text, re.MULTILINE):
            found.setdefault(label, set()).update(names)
    return found


def test_the_page_of_slurm_lists_the_steps_of_each_label():
    text = (ROOT / "docs/slurm.md").read_text(encoding="utf-8")
    for label, steps in labels().items():
        row = re.search(rf"^\| `{label}` \| ([^|]+) \|", text, re.MULTILINE)[1]
        assert row == "the others" or set(row.split(", ")) == steps, label


def test_the_page_of_aws_gives_each_step_the_image_of_its_kind():
    text = (ROOT / "docs/aws.md").read_text(encoding="utf-8")
    selectors = re.findall(r"with(Label|Name): '?([\w|]+)'? \{ container = .*c2sflow-(\w+):", text)
    image = {}
    for kind, names, chosen in selectors:  # names after labels, as Nextflow's rule is
        steps = labels()[names] if kind == "Label" else set(names.split("|"))
        image |= dict.fromkeys(steps, chosen)
    for folder in (ROOT / "containers").iterdir():
        if folder.is_symlink():
            kind = str(folder.readlink())
            assert image.get(folder.name.upper(), "cpu") == kind, folder.name
    assert set(re.findall(r"c2sflow-[\w$]+:([\d.]+)", text)) == {c2sflow.__version__}
    assert image["EVALUATE"] == "evaluate"
    assert image["REPORT"] == "report"


def test_the_picture_shows_every_step():
    picture = (ROOT / "docs/images/c2sflow.svg").read_text(encoding="utf-8")
    drawn = re.findall(r'<text x="\d+" y="\d+">(\w+)</text>', picture)
    steps = [path.parent.name.upper() for path in ROOT.glob("modules/*/main.nf")]
    assert sorted(drawn) == sorted(steps)


def test_the_picture_of_the_packages_is_what_the_tool_draws():
    """If this fails after an import or a docstring changed: make picture."""
    draw_rooms = script("docs/images/draw_rooms.py")
    assert (ROOT / "docs/images/rooms.svg").read_text(encoding="utf-8") == draw_rooms.draw()


SCREENS = {"report.png": (1280, 900), "report_mobile.png": (390, 844)}


def test_the_pictures_of_the_results_are_small():
    for name in ("umap.png", *SCREENS):
        path = ROOT / "docs/images" / name
        assert path.stat().st_size < 300_000
        with Image.open(path) as picture:
            assert picture.size == SCREENS.get(name, picture.size)


def test_a_report_is_photographed_as_wide_as_the_screen(tmp_path):
    tool = script("docs/images/draw_results.py")
    browser = next(filter(None, map(shutil.which, tool.BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium: nothing was photographed")
    page = tmp_path / "a report.html"
    page.write_text("<style>@media (max-width: 400px) { body { background: red } }</style>")
    tool.photograph(page, tmp_path, browser)
    for name, size in SCREENS.items():
        with Image.open(tmp_path / name) as picture:
            assert picture.size == size
            red, green, _ = picture.convert("RGB").getpixel((200, 800))
            assert red > 240
            assert (green < 16) == (name == "report_mobile.png")


def test_pictures_of_results_want_results(tmp_path):
    with pytest.raises(SystemExit, match="run make demo first"):
        script("docs/images/draw_results.py").main(tmp_path)


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
