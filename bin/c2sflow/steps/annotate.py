"""Predict the cell types of one shard."""

import click

from c2sflow.steps.shared.options import ATTEMPT, VARIANT, model_options


@click.command(help=__doc__)
@click.option("--shard", required=True, type=click.Path(exists=True), help="Parquet of SENTENCES.")
@model_options
@ATTEMPT
@VARIANT
@click.option("--cell-types", help="Labels to choose from, separated by lines or commas.")
@click.option("--annotation-prompt", help="Prompt template, or a file with it.")
@click.option(
    "--outdir", default=".", help="Gets <shard>.annotation.parquet, <shard>.annotate.json."
)
def main(
    shard, outdir, cell_types, annotation_prompt, prompt_variant, max_batch_tokens, attempt,
    **options,
):  # fmt: skip
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.generation.annotate_shard import annotate_shard

    annotate_shard(
        Path(shard),
        Path(outdir),
        options,
        cell_types=cell_types,
        annotation_prompt=annotation_prompt,
        prompt_variant=prompt_variant,
        max_batch_tokens=max_batch_tokens,
        attempt=attempt,
    )
