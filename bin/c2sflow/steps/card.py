"""Add the held-out evaluation to a trained model's card."""

import click


@click.command(help=__doc__)
@click.option("--card", required=True, type=click.Path(exists=True), help="README.md of FINETUNE.")
@click.option(
    "--evaluation-dir", type=click.Path(exists=True, file_okay=False), help="Tables of EVALUATE."
)
@click.option("--outdir", default=".", help="Gets README.md.")
def main(card, evaluation_dir, outdir):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.common.files import write_beside
    from c2sflow.data.result_tables import read_evaluation
    from c2sflow.training.held_out_card import with_held_out_figures

    tables = read_evaluation(Path(evaluation_dir)) if evaluation_dir else {}
    text = with_held_out_figures(Path(card).read_text(encoding="utf-8"), tables)
    Path(outdir).mkdir(parents=True, exist_ok=True)
    with write_beside(Path(outdir) / "README.md") as partial:
        partial.write_text(text, encoding="utf-8")
