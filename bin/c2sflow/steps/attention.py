"""Export gene-to-gene attention for the chosen cells of shards."""

import click

from c2sflow.steps.shared.options import SHARDS, by_name, files, model_options, prompt_options


@click.command(help=__doc__)
@SHARDS
@files("--chosen", "<shard>.chosen.parquet of CHOOSE; once for each shard.")
@model_options
@prompt_options
@click.option("--outdir", default=".", help="Gets <shard>.attention.h5.")
def main(shard, chosen, outdir, embedding_prompt, embedding_layer, **options):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.model.attend_shards import attend_shards

    shards = [Path(path) for path in shard]
    tables = by_name(chosen, ".chosen.parquet")
    attend_shards(
        shards,
        [tables[path.stem] for path in shards],
        Path(outdir),
        options,
        embedding_prompt=embedding_prompt,
        layer=embedding_layer,
    )
