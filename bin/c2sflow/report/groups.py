"""The groups of cells in the report."""

from __future__ import annotations

from c2sflow.report.plots import Section, number, safe, table_plot
from c2sflow.report.run import Run

MOST_ROWS = 60


def groups(run: Run) -> list[Section]:
    """How many groups there are, and of what cells."""
    record = run.groups
    if record is None:
        return []
    sizes = ", ".join(f"{n:,} of {size}" for size, n in reversed(record["sizes"].items()))
    by = safe(record["by"])
    text = (
        f"<p>{record['n_groups']:,} groups of at most {record['cells_per_prompt']} cells, by "
        f"{by}: {sizes}. {record['n_grouped']:,} of {record['n_cells']:,} cells are in one. The "
        f"median of genes that a cell has in its prompt is {record['n_genes']:,.0f}"
    )
    cut = record["n_truncated"]
    text += f"; {cut:,} prompts are cut by the context.</p>" if cut else ".</p>"
    rows = {_name(row): row for row in record["groups"][:MOST_ROWS]}
    more = len(record["groups"]) - len(rows)
    if more:
        text += f"<p>The first {MOST_ROWS} rows of {len(record['groups'])}.</p>"
    for name, counts in record["labels"].items():
        found = ", ".join(f"{safe(label)} ({n:,})" for label, n in counts.items())
        text += f"<p>{safe(name)}: {found or 'none'}.</p>"
    headers = {
        "n_groups": number("Groups", "Prompts that cells share"),
        "n_cells": number("Cells", "Cells in these groups"),
    }
    plot = table_plot("c2s_groups_table", "Groups of cells", "Cells of", rows, headers)
    return [Section("Groups", text, plot=plot)]


def _name(row: dict) -> str:
    """Sample and value of a row."""
    counts = ("n_groups", "n_cells")
    return " | ".join(str(value) for name, value in row.items() if name not in counts)
