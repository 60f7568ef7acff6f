"""Have the model describe the groups of cells of one shard in its own words."""

import click

from c2sflow.steps.shared.options import ATTEMPT, model_options


@click.command(help=__doc__)
@click.option("--shard", required=True, type=click.Path(exists=True), help="Parquet of GROUPS.")
@model_options
@ATTEMPT
@click.option("--interpretation-prompt", help="Prompt template, or a file with it.")
@click.option(
    "--interpretation-tokens", type=click.IntRange(1), default=256, help="Tokens of a text."
)
@click.option(
    "--outdir", default=".", help="Gets <shard>.interpretation.parquet, <shard>.interpret.json."
)
def main(
    shard, outdir, interpretation_prompt, interpretation_tokens, max_batch_tokens, attempt,
    **options,
):  # fmt: skip
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.generation.interpret_shard import interpret_shard

    interpret_shard(
        Path(shard),
        Path(outdir),
        options,
        prompt=interpretation_prompt,
        max_tokens=interpretation_tokens,
        max_batch_tokens=max_batch_tokens,
        attempt=attempt,
    )
