#!/usr/bin/env python3
"""Draw docs/images/c2sflow.svg, the map of the steps, from the pipeline's own graph.

Nextflow reports which step feeds which (`nextflow run . -preview -with-dag`); this file only
assigns each step to a line, with a note beside it. A step on no line is an error.
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES = {  # from top to bottom: colour, name, stations
    "model": ("#d29922", "model", "FETCH FINETUNE MODEL CARD"),
    "cells": (
        "#1f883d",
        "cells",
        "DEMO SHEET CENSUS VALIDATE QC SENTENCES EMBED EVALUATE MERGE BENCHMARK REPORT",
    ),
    "annotation": ("#8250df", "cell types", "ANNOTATE TEXT_SCORES"),
    "perturbation": ("#bf3989", "perturbations", "PLAN PERTURB EFFECTS EXPORT"),
    "generation": ("#cf222e", "generated cells", "GENERATE"),
    "attention": ("#0969da", "attention maps", "CHOOSE ATTENTION PAIRS"),
    "groups": ("#1b7c83", "groups of cells", "GROUPS INTERPRET"),
}
MAIN = "cells"
NOTES = {
    "DEMO": "--input demo",
    "CENSUS": "census://…",
    "VALIDATE": "h5ad, zarr, 10x …",
    "FETCH": "Hugging Face",
    "FINETUNE": "--finetune",
    "SENTENCES": "shards",
    "MERGE": "c2s.h5ad",
    "EFFECTS": "effects, screen",
    "GROUPS": "--cells_per_prompt",
    "PAIRS": "gene pairs",
    "REPORT": "report.html",
}
COLUMN, LANE, LEFT, TOP, TURN = 124, 88, 60, 46, 16
STYLE = """
text { font: 600 13px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328; text-anchor: middle }
.note { font-weight: 400; font-size: 11px; fill: #59636e }
.key { text-anchor: start; font-weight: 400; font-size: 12px }
.track { fill: none; stroke-width: 6; stroke-linecap: round }
.station { fill: #ffffff; stroke-width: 4 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  .station { fill: #0d1117 }
}
"""  # noqa: E501


def graph() -> dict[str, set[str]]:
    """Which step feeds which, in a run with everything that can be asked for."""
    with tempfile.TemporaryDirectory() as folder:
        dot = Path(folder, "dag.dot")
        asked_for = ["-profile", "test", "--generate", "2", "--model", "some/model"]
        everything = [*asked_for, "-preview", "-with-dag", dot]
        subprocess.run(["nextflow", "run", ROOT, *everything], cwd=folder, check=True)
        text = dot.read_text(encoding="utf-8")
    # FETCH_ENCODER is FETCH by another name; EMBED_GROUPS and ANNOTATE_GROUPS lead to MERGE.
    text = text.replace("FETCH_ENCODER", "FETCH")
    steps = dict(re.findall(r'^(v\d+) \[label="(?:\w+:)*(\w+)"\];', text, re.MULTILINE))
    # TUNED_MODEL is MODEL once more.
    steps = {
        node: step
        for node, step in steps.items()
        if step not in ("TUNED_MODEL", "EMBED_GROUPS", "ANNOTATE_GROUPS")
    }
    after = defaultdict(set)
    for start, end in re.findall(r"^(v\d+) -> (v\d+)", text, re.MULTILINE):
        after[start].add(end)

    def next_steps(node: str, seen: set[str]) -> set[str]:
        found = set()
        for end in after[node] - seen:
            seen.add(end)
            found |= {steps[end]} if end in steps else next_steps(end, seen)
        return found

    feeds = defaultdict(set)
    for node, step in steps.items():
        feeds[step] |= next_steps(node, set())
    return dict(feeds)


def reachable(feeds: dict[str, set[str]], step: str) -> set[str]:
    """All steps that come after one."""
    return feeds[step].union(*(reachable(feeds, end) for end in feeds[step]))


def direct(feeds: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The edges that no longer way replaces."""
    return [
        (start, end)
        for start, ends in feeds.items()
        for end in ends
        if not any(end in reachable(feeds, other) for other in ends - {end})
    ]


def depths(feeds: dict[str, set[str]]) -> dict[str, int]:
    """The number of steps before each step, on the longest way to it."""
    found = dict.fromkeys(feeds, 0)
    for _ in feeds:
        for start, ends in feeds.items():
            for end in ends:
                found[end] = max(found[end], found[start] + 1)
    return found


def track(start: tuple[int, int], end: tuple[int, int], joins: bool) -> str:
    """A way with round corners that changes lanes at its end if it joins, else at its start.

    Of two that change between the same columns, the one of the further lane lets the other pass.
    """
    (x1, y1), (x2, y2) = start, end
    if y1 == y2:
        return f"M{x1},{y1}H{x2}"
    far = 8 * (abs(y2 - y1) // LANE - 1)
    x = x2 - COLUMN // 2 + far if joins else x1 + COLUMN // 2 - far
    turn = TURN if y2 > y1 else -TURN
    corners = f"Q{x},{y1} {x},{y1 + turn}V{y2 - turn}Q{x},{y2} {x + TURN},{y2}"
    return f"M{x1},{y1}H{x - TURN}{corners}H{x2}"


def draw(feeds: dict[str, set[str]], on_gpu: set[str]) -> str:
    """The map as SVG."""
    line = {step: name for name, (_, _, steps) in LINES.items() for step in steps.split()}
    if unknown := feeds.keys() ^ line.keys():
        sys.exit(f"draw.py: LINES and the pipeline differ: {', '.join(sorted(unknown))}")
    # Every step that runs a model gets it from these: shown by a ring, not a track across the map.
    for source in ("FETCH", "FINETUNE"):
        feeds[source] = {end for end in feeds[source] if line[end] == "model"}
    lanes = {name: TOP + n * LANE for n, name in enumerate(LINES)}
    column = depths(feeds)
    at = {step: (LEFT + column[step] * COLUMN, lanes[line[step]]) for step in feeds}
    shapes = []
    for start, end in sorted(
        direct(feeds), key=lambda edge: (list(LINES).index(line[edge[1]]), edge)
    ):
        joins = line[end] == MAIN
        own = line[start] if joins else line[end]
        way = track(at[start], at[end], joins)
        shapes.append(f'<path class="track" stroke="{LINES[own][0]}" d="{way}"/>')
    for step, (x, y) in sorted(at.items()):
        colour = LINES[line[step]][0]
        if step in on_gpu:
            ring = LINES["model"][0]
            shapes.append(f'<circle class="station" cx="{x}" cy="{y}" r="15" stroke="{ring}"/>')
        shapes.append(f'<circle class="station" cx="{x}" cy="{y}" r="9" stroke="{colour}"/>')
        shapes.append(f'<text x="{x}" y="{y - 22}">{step}</text>')
        if step in NOTES:
            shapes.append(f'<text class="note" x="{x}" y="{y + 31}">{escape(NOTES[step])}</text>')
    width = LEFT * 2 + max(column.values()) * COLUMN
    bottom = TOP + len(LINES) * LANE - 10
    for n, (colour, name, _) in enumerate(LINES.values()):
        x = LEFT - 40 + n * 158
        shapes.append(f'<path class="track" stroke="{colour}" d="M{x},{bottom}h26"/>')
        shapes.append(f'<text class="key" x="{x + 36}" y="{bottom + 4}">{name}</text>')
    x = LEFT - 40 + len(LINES) * 158
    shapes.append(
        f'<circle class="station" cx="{x}" cy="{bottom}" r="9" stroke="{LINES["model"][0]}"/>'
    )
    shapes.append(f'<text class="key" x="{x + 18}" y="{bottom + 4}">runs a model</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 22}" role="img">\n'
        f"<title>The steps of c2sflow</title>\n<style>{STYLE}</style>\n" + "\n".join(shapes) + "\n"
        "</svg>\n"
    )


if __name__ == "__main__":
    modules = {path.parent.name.upper(): path for path in ROOT.glob("modules/*/main.nf")}
    on_gpu = {
        name for name, path in modules.items() if "label 'process_gpu'" in path.read_text("utf-8")
    }
    picture = draw(graph(), on_gpu)
    Path(__file__).with_name("c2sflow.svg").write_text(picture, encoding="utf-8")
