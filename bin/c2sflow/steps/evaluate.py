"""Evaluate embeddings and predictions against ground truth."""

import click

FOLDER = click.Path(exists=True, file_okay=False)
FILES = (
    "samples", "qc_dir", "sentences_dir", "shards_dir", "embeddings_dir", "annotations_dir",
    "perturbed_dir", "generated_dir",
)  # fmt: skip


@click.command(help=__doc__)
@click.option("--samples", required=True, type=click.Path(exists=True), help="samples.json.")
@click.option("--qc-dir", required=True, type=FOLDER, help="<id>.h5ad of QC.")
@click.option("--sentences-dir", required=True, type=FOLDER, help="<id>.sentences.json.")
@click.option("--shards-dir", required=True, type=FOLDER, help="<shard>.parquet of SENTENCES.")
@click.option("--embeddings-dir", required=True, type=FOLDER, help="<shard>.embedding.h5ad.")
@click.option("--annotations-dir", type=FOLDER, help="<shard>.annotation.parquet, if any.")
@click.option("--perturbed-dir", type=FOLDER, help="<shard>.perturbed.parquet, if any.")
@click.option("--generated-dir", type=FOLDER, help="<task>.generated.parquet, if any.")
@click.option("--label-column", help="Column of obs with cell types.")
@click.option("--evaluation-key", help="Arrays of the input's obsm to score too.")
@click.option("--batch-column", help="Column of obs with the batch, donor or sample of each cell.")
@click.option("--measured-column", help="Column of obs with the measured perturbations.")
@click.option("--context-column", help="Column of obs with the cell line, donor or cell type.")
@click.option("--control", help="pandas query on obs; default: cells labelled as control.")
@click.option("--replicate-column", help="Column of obs with the donor or sample of each cell.")
@click.option("--training-cells", help="pandas query on obs: cells the model was trained on.")
@click.option("--measured-labels", help="JSON: by predicted label, the column with the truth.")
@click.option(
    "--evaluation-cells", type=click.IntRange(50), default=10_000, help="Maximum number of cells."
)
@click.option("--seed", type=int, default=42)
@click.option("--outdir", default=".", help="Gets evaluation/.")
def main(outdir, measured_labels, **options):
    """Parse, call the library, write."""
    import json
    from pathlib import Path

    from c2sflow.evaluation.run import Settings, write_evaluation
    from c2sflow.evaluation.run_reader import RunFiles

    places = {name: options.pop(name) for name in FILES}
    files = RunFiles(**{name: Path(path) for name, path in places.items() if path})
    truths = json.loads(measured_labels or "{}")
    write_evaluation(files, Path(outdir), Settings(**options, measured_labels=truths))
