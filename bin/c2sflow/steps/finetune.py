"""A model from cell sentences: an adapter, a model trained further, or a new small one."""

import click

from c2sflow.steps.shared.options import ATTEMPT


@click.command(help=__doc__)
@click.option("--shards-dir", required=True, type=click.Path(exists=True), help="Of SENTENCES.")
@click.option("--sentences-dir", required=True, type=click.Path(exists=True), help="Summaries.")
@click.option("--model", type=click.Path(exists=True), help="Base model; none for scratch.")
@click.option(
    "--finetune", "tasks", required=True, help="Such as cell_type,perturbation:2 (with weights)."
)
@click.option(
    "--finetune-method",
    "method",
    type=click.Choice(["lora", "qlora", "full", "scratch"]),
    default="lora",
)
@click.option("--label-column", help="Column of obs with the cell types.")
@click.option("--perturbation-column", help="Column of obs: what was done to the cell.")
@click.option("--control", help="Query that picks control cells.")
@click.option("--replicate-column", help="Column of obs: pairs are of one of its groups.")
@click.option("--pairing", type=click.Choice(["random", "assignment"]), default="random")
@click.option("--lora-rank", type=click.IntRange(1), default=16)
@click.option("--lora-alpha", type=click.FloatRange(0, min_open=True), default=32)
@click.option("--learning-rate", default="auto", help="A number, or auto: by the method.")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), default=3)
@click.option("--max-steps", type=click.IntRange(1), help="Steps of the optimizer, at most.")
@click.option(
    "--finetune-batch-tokens",
    "batch_tokens",
    type=click.IntRange(1),
    default=8192,
    help="Tokens a step.",
)
@click.option("--max-batch-tokens", default="auto", help="Tokens at once, or auto.")
@click.option("--max-answer-genes", type=click.IntRange(1), default=200)
@click.option("--warmup", type=click.FloatRange(0, 1), default=0.03, help="Share of the steps.")
@click.option("--patience", type=click.IntRange(0), default=3, help="Validations; 0: to the end.")
@click.option("--evaluate-every", default="auto", help="Steps, or auto.")
@click.option("--checkpoint-every", default="auto", help="Steps, or auto.")
@click.option("--checkpoints", type=click.Path(file_okay=False), help="Outlives the task.")
@click.option("--prompt-gene-weight", type=click.FloatRange(0, 1), default=0.0)
@click.option("--augmentation", type=click.FloatRange(0, 1), default=0.0)
@click.option("--balance-labels/--no-balance-labels", default=False)
@click.option("--merge-adapter/--no-merge-adapter", default=False)
@click.option("--annotation-prompt", help="Prompt template, or a file that holds it.")
@click.option("--perturbation-prompt", help="Prompt template, or a file that holds it.")
@click.option("--generation-prompt", help="Prompt template, or a file that holds it.")
@click.option("--embedding-prompt", help="Of the pairing by assignment.")
@click.option("--base-id", help="What the result calls its base model.")
@click.option("--base-revision")
@click.option("--device", default="auto", help="auto, cpu or cuda.")
@click.option("--dtype", type=click.Choice(["auto", "bfloat16", "float32"]), default="auto")
@click.option("--seed", type=int, default=42)
@ATTEMPT
@click.option("--outdir", default=".", help="Gets model/, finetune.json, loss.tsv, splits.tsv.")
def main(shards_dir, sentences_dir, model, outdir, **options):
    """Parse, call the library, write."""
    from pathlib import Path

    from c2sflow.training.finetuning import finetune
    from c2sflow.training.options import TrainingOptions

    finetune(
        sorted(Path(shards_dir).glob("*.parquet")),
        sorted(Path(sentences_dir).glob("*.sentences.json")),
        Path(outdir),
        TrainingOptions(**options),
        Path(model) if model else None,
    )
