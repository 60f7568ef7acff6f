"""Embed the cell sentences of shards."""

import click

from c2sflow.steps.shared.options import SHARDS, embedding_options, model_options


@click.command(help=__doc__)
@SHARDS
@model_options
@embedding_options
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
    **options,
):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.model.embed_shards import embed_shards

    embed_shards(
        [Path(path) for path in shard],
        Path(outdir),
        options,
        pooling=pooling,
        embedding_prompt=embedding_prompt,
        prompt_variant=prompt_variant,
        layer=embedding_layer,
        max_batch_tokens=max_batch_tokens,
        attempt=attempt,
    )
