"""A model of the Hugging Face hub to a directory: safetensors, tokenizer, configuration."""

import click


@click.command(help=__doc__)
@click.option("--model", required=True, help="Hub id, such as vandijklab/C2S-Scale-Gemma-2-2B.")
@click.option("--model-revision", default="main", help="Branch, tag or commit.")
@click.option("--encoder/--no-encoder", default=False, help="A text encoder is wanted.")
@click.option("--outdir", required=True, help="Directory to make.")
def main(model, model_revision, encoder, outdir):
    """Parse, call the library, write."""
    from c2sflow.model.files import fetch_model

    fetch_model(model, model_revision, outdir, encoder)
