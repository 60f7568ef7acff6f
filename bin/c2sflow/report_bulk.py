"""What the report says of bulk and pseudobulk samples: each is a row that one can look at."""

from __future__ import annotations

from c2sflow.bulk import MOST_SAMPLES, TOP, TOP_GENES
from c2sflow.report_inputs import Run
from c2sflow.report_plots import Section, number, safe, table_plot


def bulk(run: Run) -> list[Section]:
    """Library size, genes and dominance of each bulk sample, if there are any."""
    rows = {
        f"{record['sample']} · {row['name']}": {k: v for k, v in row.items() if k != "name"}
        for record in run.qc
        for row in record.get("bulk_samples", ())
    }
    if not rows:
        return []
    headers = {
        "n_cells": number("Cells", "Cells that were summed", scale=False),
        "total_counts": number("Library size", "Counts of the sample"),
        "n_genes_by_counts": number("Genes", "Genes detected", scale="Greens"),
        TOP: number(f"Top {TOP_GENES}", "Share of the highest genes", "%", 1, "Reds", top=100),
        "pct_counts_mt": number("Mitochondrial", "Share of these genes", "%", 1, "Reds", top=100),
    }
    headers = {key: own for key, own in headers.items() if any(key in row for row in rows.values())}
    summed = {safe(", ".join(r["pseudobulk"]["by"])) for r in run.qc if "pseudobulk" in r}
    text = (
        "Nothing was dropped: no threshold of cells holds for bulk samples. Look for libraries far "
        "smaller than the others, or that few genes make up: they rank their genes less surely."
    )
    if summed:
        text += f" Pseudobulk: cells summed by {' and '.join(sorted(summed))}."
    if len(rows) >= MOST_SAMPLES:
        text += f" At most {MOST_SAMPLES} of each file are shown."
    name = "Bulk samples"
    return [Section(name, text, plot=table_plot("bulk", name, "Sample", rows, headers))]
