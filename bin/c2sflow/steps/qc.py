"""Filter and normalise the cells of one sample."""

from typing import Literal

import click

BASES: dict[str, Literal["e", 2, 10]] = {"e": "e", "2": 2, "10": 10}


@click.command(help=__doc__)
@click.option("--h5ad", required=True, type=click.Path(exists=True), help="Input, any format.")
@click.option("--id", "name", required=True, help="File-safe name of the sample.")
@click.option("--sample", required=True, help="Name of the sample as given.")
@click.option("--organism", required=True, help="human, mouse, another, or obs (per cell).")
@click.option(
    "--input-state", required=True, type=click.Choice(["counts", "normalized", "lognormalized"])
)
@click.option("--log-base", type=click.Choice(list(BASES)), help="Base of log-normalised values.")
@click.option(
    "--state-declared/--no-state-declared", default=False, help="The user set --input-state."
)
@click.option("--gene-symbols", help="Column of var with the symbols; default: var_names.")
@click.option("--gene-symbols-file", type=click.Path(exists=True), help="Table of symbols.")
@click.option("--matrix", default="X", help="X, raw.X or layers/NAME.")
@click.option("--features", default="genes", help="genes, all, or types of var.")
@click.option("--genome", help="Keep the genes and cells of this genome.")
@click.option("--obs", "extra", multiple=True, metavar="K=V", help="Add a column to obs.")
@click.option("--min-genes", type=click.IntRange(0), default=200, help="Minimum genes per cell.")
@click.option("--min-cells", type=click.IntRange(0), default=3, help="Minimum cells per gene.")
@click.option(
    "--max-pct-mt",
    type=click.FloatRange(0, 100),
    default=20.0,
    help="Maximum % of mitochondrial counts.",
)
@click.option("--skip-qc/--no-skip-qc", default=False, help="Keep all cells and genes.")
@click.option("--input-kind", type=click.Choice(["cells", "bulk"]), default="cells")
@click.option("--pseudobulk", help="Columns of obs: sum counts within their groups.")
@click.option(
    "--split", metavar="JSON", help="Split for training: c2sflow.data.splits.splits.Rule.asdict()."
)
@click.option("--outdir", default=".", help="Gets <id>.h5ad and <id>.qc.json.")
def main(
    h5ad,
    name,
    sample,
    organism,
    input_state,
    log_base,
    state_declared,
    gene_symbols,
    gene_symbols_file,
    matrix,
    features,
    genome,
    extra,
    input_kind,
    pseudobulk,
    split,
    outdir,
    **limits,
):
    """Parse, call the library, write."""
    import json
    import warnings
    from pathlib import Path

    if input_state == "lognormalized" and log_base is None:
        raise click.UsageError("--input-state lognormalized needs --log-base")
    if any("=" not in pair for pair in extra):
        raise click.UsageError("--obs takes COLUMN=VALUE")
    warnings.filterwarnings("ignore", category=FutureWarning)
    from c2sflow.common.files import write_json
    from c2sflow.data.bulk.pseudobulk import read_columns, run_pseudobulk
    from c2sflow.data.qc.qc import Filters, run_qc
    from c2sflow.data.splits.splits import Rule
    from c2sflow.data.state.normalization import State
    from c2sflow.data.views import View

    target = Path(outdir) / f"{name}.h5ad"
    summary = run_qc(
        h5ad,
        target,
        sample=sample,
        organism=organism,
        state=State(input_state, BASES[log_base] if input_state == "lognormalized" else None),
        state_declared=state_declared,
        symbols_column=gene_symbols,
        symbols_table=gene_symbols_file,
        extra=dict(pair.split("=", 1) for pair in extra),
        filters=Filters(
            limits["min_genes"], limits["min_cells"], limits["max_pct_mt"], limits["skip_qc"]
        ),
        kind=input_kind,
        view=View(matrix, features, genome),
        split=Rule(**json.loads(split)) if split else None,
    )
    if pseudobulk and input_kind == "cells":
        summed = run_pseudobulk(target, target, read_columns(pseudobulk))
        summary |= summed | {"warnings": summary["warnings"] + summed["warnings"]}
    write_json(Path(outdir) / f"{name}.qc.json", {"id": name, **summary})
