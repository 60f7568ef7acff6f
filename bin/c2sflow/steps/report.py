"""Write the report as one HTML page with MultiQC."""

import click

FOLDER = click.Path(exists=True, file_okay=False)
FILE = click.Path(exists=True, dir_okay=False)
RESULT = click.Path(exists=True)  # a file or, of zarr, a folder


@click.command(help=__doc__)
@click.option("--h5ad", required=True, type=RESULT, help="c2s.h5ad or c2s.zarr of MERGE.")
@click.option("--perturbed", type=FILE, help="c2s_perturbed.h5ad of MERGE, if any.")
@click.option("--perturbation-summary", type=FILE, help="summary.tsv of MERGE, if any.")
@click.option("--attention-pairs", type=FILE, help="attention_pairs.tsv of PAIRS, if any.")
@click.option("--generated-summary", type=FILE, help="generation/summary.tsv of MERGE, if any.")
@click.option("--effects-dir", type=FOLDER, help="perturbation_effects.tsv and more of EFFECTS.")
@click.option("--evaluation-dir", type=FOLDER, help="Tables and notes.json of EVALUATE.")
@click.option("--training-dir", type=FOLDER, help="finetune.json and loss.tsv of FINETUNE.")
@click.option("--qc-dir", required=True, type=FOLDER, help="<id>.qc.json.")
@click.option("--sentences-dir", required=True, type=FOLDER, help="<id>.sentences.json.")
@click.option(
    "--stats-dir",
    required=True,
    type=FOLDER,
    help="<shard>.{embed,annotate,perturb,generate}.json, merge.json, groups.json.",
)
@click.option("--multiqc-config", required=True, type=FILE, help="Configuration of MultiQC.")
@click.option("--label-column", help="Column of obs that colours the UMAP.")
@click.option("--training-cells", help="pandas query on obs: cells the model was trained on.")
@click.option("--outdir", default=".")
def main(label_column, training_cells, **paths):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.report.page import write_report

    places = {key: Path(value) for key, value in paths.items() if value}
    write_report(**places, label_column=label_column, training_cells=training_cells)
