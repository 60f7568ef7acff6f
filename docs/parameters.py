#!/usr/bin/env python3
"""Write docs/parameters.md, the table of all parameters, from nextflow_schema.json."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INTRODUCTION = (
    "Made from `nextflow_schema.json` by `make docs`. `nextflow run . --help` lists the parameters",
    "that matter most, `--help_full` all of them, `--help NAME` prints more about one.",
    "How parameters work together: [usage](usage.md).",
)
LIMITS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}"}


def page(schema: Mapping) -> str:
    """The page: a section for each group, a row for each parameter."""
    lines = ["# Parameters", "", *INTRODUCTION, ""]
    for group in schema["$defs"].values():
        lines += [f"## {group['title']}", "", group["description"], ""]
        lines += ["| parameter | type | default | what it is |", "|---|---|---|---|"]
        lines += [row(name, entry) for name, entry in group["properties"].items()]
        lines.append("")
    return "\n".join(lines)


def row(name: str, entry: Mapping) -> str:
    """One parameter as a row of a Markdown table."""
    default = entry.get("default")
    shown = "" if default is None else f"`{json.dumps(default)}`".replace('"', "")
    what = " ".join(entry[key] for key in ("description", "advice") if key in entry)
    cells = [f"`--{name}`", ", ".join(kinds(entry)), shown, what]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def kinds(entry: Mapping) -> Iterator[str]:
    """Type, choices and limits."""
    types = entry["type"]
    yield " or ".join([types] if isinstance(types, str) else types)
    if "enum" in entry:
        yield " · ".join(map(str, entry["enum"]))
    for key, words in LIMITS.items():
        if key in entry:
            yield words.format(entry[key])


if __name__ == "__main__":
    text = page(json.loads((ROOT / "nextflow_schema.json").read_text(encoding="utf-8")))
    (ROOT / "docs/parameters.md").write_text(text, encoding="utf-8")
