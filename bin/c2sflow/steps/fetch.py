"""Download a model from the Hugging Face hub."""

import click


@click.command(help=__doc__)
@click.option("--model", required=True, help="Hub id, such as vandijklab/C2S-Scale-Gemma-2-2B.")
@click.option("--model-revision", default="main", help="Branch, tag or commit.")
@click.option("--encoder/--no-encoder", default=False, help="Fetch a text encoder.")
@click.option("--outdir", required=True, help="Directory to create.")
def main(model, model_revision, encoder, outdir):
    """Parse, call the library, write."""
    from c2sflow.model.files import fetch_model

    fetch_model(model, model_revision, outdir, encoder)
