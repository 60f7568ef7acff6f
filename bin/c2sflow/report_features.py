"""What the report says of the features that are no genes, and of references of several genomes."""

from __future__ import annotations

from c2sflow.report_inputs import Run
from c2sflow.report_plots import PALETTE, Section, number, safe, table_plot

# Cells that a chosen genome leaves out: parts of the bars of cells.
GENOME_REASONS = {
    "other_genome": ("Of another genome (genome)", PALETTE[4]),
    "mixed_genomes": ("Of mixed genomes: doublets (genome)", PALETTE[7]),
}


def features(run: Run) -> list[Section]:
    """Features left out by kind, genes by genome and the matrix that was read, if not plain X."""
    rows, titles = {}, {}
    for record in run.qc:
        left_out, genes = record.get("features_left_out", {}), record.get("genome_genes", {})
        others = {name: n for name, n in genes.items() if name != record.get("genome")}
        row = {f"kind_{kind}": n for kind, n in left_out.items()}
        titles |= {f"kind_{kind}": safe(kind.replace("_", " ").capitalize()) for kind in left_out}
        row |= {f"genome_{name}": n for name, n in others.items()}
        titles |= {f"genome_{name}": f"Genes of {safe(name)}" for name in others}
        matrix, genome = record.get("matrix", "X"), record.get("genome")
        if row or matrix != "X":
            row |= {"genes": record["n_genes_in"], "matrix": safe(matrix)}
            rows[record["sample"]] = row | ({"genome": safe(genome)} if genome else {})
    if not rows:
        return []
    headers = {
        "genes": number("Genes", "Features that are genes, before min_cells", scale=False),
        **{key: number(title, "Left out", scale=False) for key, title in titles.items()},
        "genome": {"title": "Genome", "description": "Whose genes are kept", "scale": False},
        "matrix": {"title": "Matrix", "description": "Where the values are from", "scale": False},
    }
    text = (
        "Features that are no genes are in no sentence and no total. Kinds of a few thousand lie "
        "in <code>obsm</code> of <code>c2s.h5ad</code>, with their names in "
        "<code>uns['c2s_features']</code>. <code>--features</code>, <code>--genome</code> and "
        "<code>--matrix</code> decide otherwise."
    )
    name = "Features read"
    return [Section(name, text, plot=table_plot("features", name, "Sample", rows, headers))]
