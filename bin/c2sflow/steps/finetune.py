"""Fine-tune a model on cell sentences, or train a small one."""

import click

from c2sflow.model.architectures.from_scratch import DEFAULT, FROM_SCRATCH
from c2sflow.steps.shared.options import ATTEMPT, COMPILE_CACHE, VARIANT


@click.command(help=__doc__)
@click.option(
    "--shards-dir", required=True, type=click.Path(exists=True), help="Shards of SENTENCES."
)
@click.option(
    "--sentences-dir", required=True, type=click.Path(exists=True), help="<id>.sentences.json."
)
@click.option("--model", type=click.Path(exists=True), help="Base model; not for scratch.")
@click.option("--finetune", "tasks", required=True, help="Tasks, such as cell_type,perturbation:2.")
@click.option(
    "--finetune-method",
    "method",
    type=click.Choice(["lora", "qlora", "full", "scratch"]),
    default="lora",
)
@click.option(
    "--scratch-family",
    type=click.Choice(list(FROM_SCRATCH)),
    default=DEFAULT,
    help="Family of a new model.",
)
@click.option("--label-column", help="Column of obs with cell types.")
@click.option("--perturbation-column", help="Column of obs with the perturbations.")
@click.option("--control", help="Query on obs that selects the control cells.")
@click.option("--replicate-column", help="Column of obs: pair cells within its groups.")
@click.option("--tissue-column", help="Column of obs with the tissues, of tasks of groups.")
@click.option("--cells-per-prompt", type=click.IntRange(2), help="Of the task tissue.")
@click.option("--cells-per-answer", type=click.IntRange(2), help="Of the task tissue_generation.")
@click.option("--group-by", default="sample", help="sample, or a column of obs.")
@click.option("--groups-across-samples/--no-groups-across-samples", default=False)
@click.option("--pairing", type=click.Choice(["random", "assignment"]), default="random")
@click.option("--lora-rank", type=click.IntRange(1), default=16)
@click.option("--lora-alpha", type=click.FloatRange(0, min_open=True), default=32)
@click.option("--learning-rate", default="auto", help="A number, or auto: by method.")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), default=3)
@click.option("--max-steps", type=click.IntRange(1), help="Maximum number of optimiser steps.")
@click.option(
    "--finetune-batch-tokens",
    "batch_tokens",
    type=click.IntRange(1),
    default=8192,
    help="Tokens per optimiser step.",
)
@click.option("--max-batch-tokens", default="auto", help="Tokens per batch, or auto.")
@click.option("--max-genes", type=click.IntRange(1), help="Of the sentences, for the record.")
@click.option("--max-answer-genes", type=click.IntRange(1), help="Default: the base's own.")
@click.option("--warmup", type=click.FloatRange(0, 1), default=0.03, help="Share of the steps.")
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=3,
    help="Evaluations without improvement; 0: never stop.",
)
@click.option("--evaluate-every", default="auto", help="Steps, or auto.")
@click.option("--checkpoint-every", default="auto", help="Steps, or auto.")
@click.option("--checkpoints", type=click.Path(file_okay=False), help="Folder of the checkpoints.")
@click.option("--prompt-gene-weight", type=click.FloatRange(0, 1), default=0.0)
@click.option("--augmentation", type=click.FloatRange(0, 1), default=0.0)
@click.option("--balance-labels/--no-balance-labels", default=False)
@click.option("--merge-adapter/--no-merge-adapter", default=False)
@click.option("--annotation-prompt", help="Prompt template, or a file with it.")
@click.option("--perturbation-prompt", help="Prompt template, or a file with it.")
@click.option("--generation-prompt", help="Prompt template, or a file with it.")
@click.option("--cells-prompt", help="Of the task tissue_generation.")
@click.option("--tissue-prompt", help="Of the task tissue.")
@click.option("--embedding-prompt", help="Prompt for pairing by assignment.")
@VARIANT
@click.option("--base-id", help="Name of the base model in the result.")
@click.option("--base-revision")
@click.option("--device", default="auto", help="auto, cpu or cuda.")
@click.option("--dtype", type=click.Choice(["auto", "bfloat16", "float32"]), default="auto")
@click.option("--seed", type=int, default=42)
@ATTEMPT
@COMPILE_CACHE
@click.option("--split", metavar="JSON", help="How the cells are split: that of QC.")
@click.option(
    "--outdir", default=".", help="Gets model/, finetune.json, loss.tsv, splits.tsv, splits.toml."
)
def main(shards_dir, sentences_dir, model, outdir, compile_cache, split, **options):
    """Parse, call the library, write."""
    import json
    from pathlib import Path

    from c2sflow.data.splits.splits import Rule
    from c2sflow.model.compile_cache import use_compile_cache
    from c2sflow.model.placement import resolve_device
    from c2sflow.training.finetuning import finetune
    from c2sflow.training.options import TrainingOptions

    use_compile_cache(compile_cache, resolve_device(options["device"]))
    finetune(
        sorted(Path(shards_dir).glob("*.parquet")),
        sorted(Path(sentences_dir).glob("*.sentences.json")),
        Path(outdir),
        TrainingOptions(**options),
        Path(model) if model else None,
        Rule(**json.loads(split)) if split else None,
    )
