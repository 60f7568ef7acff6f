#!/usr/bin/env python3
"""Draw docs/images/rooms.svg: the packages of bin/c2sflow, their layers, and who imports whom.

The layers are import-linter's (pyproject.toml), the imports grimp's, which reads the code, and the
words those that each package begins with. A package that is in no layer ends this with an error.
"""

import ast
import sys
import textwrap
import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "c2sflow"
WIDTH, MARGIN, GAP, LAYER_GAP = 1000, 20, 12, 26
TITLE, LINE, PADDING = 26, 15, 12
STYLE = """
text { font: 11px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #59636e }
.name { font-weight: 600; font-size: 14px; fill: #1f2328 }
.imports { fill: #0969da }
rect { fill: #ffffff; stroke: #1f883d; stroke-width: 2 }
path { fill: none; stroke: #59636e; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 }
  .name { fill: #f0f6fc }
  .imports { fill: #4493f8 }
  rect { fill: #0d1117 }
}
"""


def layers() -> list[list[str]]:
    """Names of the packages, a list for each layer, from the top down."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip().removeprefix(f"{PACKAGE}.") for name in row.split("|")] for row in rows]


def imports() -> dict[str, set[str]]:
    """Which packages each package imports, in functions too."""
    sys.path.insert(0, str(ROOT / "bin"))
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    rooms = graph.find_children(PACKAGE)
    return {
        room.removeprefix(f"{PACKAGE}."): {
            other.removeprefix(f"{PACKAGE}.")
            for other in rooms - {room}
            if graph.direct_import_exists(importer=room, imported=other, as_packages=True)
        }
        for room in rooms
    }


def words(name: str) -> str:
    """The first line of a package's docstring, or of a module's."""
    path = ROOT / "bin" / PACKAGE / name
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split("\n")[0]


def box(name: str, imported: set[str], order: list[str], width: int) -> list[tuple[str, str]]:
    """The lines in a room: class and text of each."""
    characters = (width - 2 * PADDING) // 6
    lines = [("name", name)]
    lines += [("words", line) for line in textwrap.wrap(words(name), characters)]
    named = (
        "imports " + ", ".join(sorted(imported, key=order.index))
        if imported
        else "imports none of ours"
    )
    return lines + [("imports", line) for line in textwrap.wrap(named, characters)]


def draw() -> str:
    """The picture as SVG."""
    rows, imported = layers(), imports()
    order = [name for row in rows for name in row]
    if unknown := imported.keys() ^ set(order):
        sys.exit(f"draw_rooms.py: in no layer, or no package: {', '.join(sorted(unknown))}")
    shapes, y = [], MARGIN
    for n, row in enumerate(rows):
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) // len(row)
        boxes = [box(name, imported[name], order, width) for name in row]
        height = TITLE + LINE * (max(map(len, boxes)) - 1) + PADDING
        if n:
            shapes.append(
                f'<path d="M{WIDTH // 2},{y - LAYER_GAP + 4}v{LAYER_GAP - 10}l-5,-6m5,6l5,-6"/>'
            )
        for column, lines in enumerate(boxes):
            x = MARGIN + column * (width + GAP)
            shapes.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>')
            for k, (kind, line) in enumerate(lines):
                down = y + TITLE - 6 + k * LINE
                text = f'<text class="{kind}" x="{x + PADDING}" y="{down}">{escape(line)}</text>'
                shapes.append(text)
        y += height + LAYER_GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img">\n'
        f"<title>The packages of {PACKAGE}</title>\n<style>{STYLE}</style>\n"
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_name("rooms.svg").write_text(draw(), encoding="utf-8")
