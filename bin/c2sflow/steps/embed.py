"""Embed the cell sentences of one shard."""

import click

from c2sflow.steps.shared.options import COMPILE, embedding_options, model_options


@click.command(help=__doc__)
@click.option("--shard", required=True, type=click.Path(exists=True), help="Parquet of SENTENCES.")
@model_options
@embedding_options
@COMPILE
@click.option("--outdir", default=".", help="Gets <shard>.embedding.h5ad and <shard>.embed.json.")
def main(
    shard,
    outdir,
    pooling,
    embedding_prompt,
    embedding_layer,
    prompt_variant,
    attempt,
    max_batch_tokens,
    compile,
    **options,
):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.model.embed_shard import embed_shard

    embed_shard(
        Path(shard),
        Path(outdir),
        options,
        pooling=pooling,
        embedding_prompt=embedding_prompt,
        prompt_variant=prompt_variant,
        layer=embedding_layer,
        max_batch_tokens=max_batch_tokens,
        compile=compile,
        attempt=attempt,
    )
