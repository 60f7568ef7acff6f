"""Predict the cell types, or other labels, of shards."""

import click

from c2sflow.steps.shared.options import ATTEMPT, SHARDS, VARIANT, model_options


@click.command(help=__doc__)
@SHARDS
@model_options
@ATTEMPT
@VARIANT
@click.option("--cell-types", help="Labels to choose from, separated by lines or commas.")
@click.option("--annotation-prompt", help="Prompt template, or a file with it.")
@click.option("--labels", help="JSON of VALIDATE: what to ask for instead of the cell type.")
@click.option(
    "--min-probability",
    type=click.FloatRange(0, 1),
    help="Labels that are less probable are missing.",
)
@click.option(
    "--outdir", default=".", help="Gets <shard>.annotation.parquet, <shard>.annotate.json."
)
def main(
    shard, outdir, cell_types, annotation_prompt, prompt_variant, labels, min_probability,
    max_batch_tokens, attempt, **options,
):  # fmt: skip
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.generation.annotate_shards import annotate_shards
    from c2sflow.generation.annotation_questions import Asking
    from c2sflow.inputs.labels import labels_from_text

    annotate_shards(
        [Path(path) for path in shard],
        Path(outdir),
        options,
        Asking(cell_types, annotation_prompt, prompt_variant, min_probability=min_probability),
        labels_from_text(labels),
        max_batch_tokens=max_batch_tokens,
        attempt=attempt,
    )
