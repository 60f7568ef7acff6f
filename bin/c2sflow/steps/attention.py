"""Export gene-to-gene attention for one shard's chosen cells."""

import click

from c2sflow.steps.shared.options import model_options, prompt_options


@click.command(help=__doc__)
@click.option("--shard", required=True, type=click.Path(exists=True), help="Parquet of SENTENCES.")
@click.option("--chosen", required=True, type=click.Path(exists=True), help="Parquet of CHOOSE.")
@model_options
@prompt_options
@click.option("--outdir", default=".", help="Gets <shard>.attention.h5.")
def main(shard, chosen, outdir, embedding_prompt, embedding_layer, **options):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.model.attend_shard import attend_shard

    attend_shard(
        Path(shard),
        Path(chosen),
        Path(outdir),
        options,
        embedding_prompt=embedding_prompt,
        layer=embedding_layer,
    )
