"""Score generated text by BERTScore."""

import click

FOLDER = click.Path(exists=True, file_okay=False)


@click.command(help=__doc__)
@click.option("--shards-dir", required=True, type=FOLDER, help="<shard>.parquet of SENTENCES.")
@click.option("--encoder-dir", required=True, type=FOLDER, help="A text encoder, such as BERT.")
@click.option("--annotations-dir", type=FOLDER, help="<shard>.annotation.parquet, if any.")
@click.option("--perturbed-dir", type=FOLDER, help="<shard>.perturbed.parquet, if any.")
@click.option("--label-column", help="Column of obs with cell types.")
@click.option("--measured-column", help="Column of obs with the measured perturbations.")
@click.option("--training-cells", help="pandas query on obs: cells the model was trained on.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option("--seed", type=int, default=42)
@click.option("--outdir", default=".", help="Gets text_scores.tsv.")
def main(label_column, measured_column, training_cells, device, seed, **paths):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.evaluation.text_tables import write_text_scores

    write_text_scores(
        **{name: Path(path) for name, path in paths.items() if path},
        label_column=label_column,
        measured_column=measured_column,
        training_cells=training_cells,
        device=device,
        seed=seed,
    )
