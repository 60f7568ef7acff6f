"""Command-line options of the steps that run a model."""

import click

MODEL_OPTIONS = (
    click.option("--model", required=True, type=click.Path(exists=True), help="Model directory."),
    click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N."),
    click.option(
        "--dtype", type=click.Choice(["auto", "bfloat16", "float16", "float32"]), default="auto"
    ),
    click.option(
        "--attention",
        type=click.Choice(["auto", "eager", "sdpa", "flex_attention", "flash_attention_2"]),
        default="auto",
    ),
    click.option("--quantization", type=click.Choice(["none", "nf4", "int8"]), default="none"),
    click.option("--max-batch-tokens", default="auto", help="Tokens a batch, or auto."),
)
EMBEDDING_OPTIONS = (
    click.option("--pooling", type=click.Choice(["mean", "last"]), default="mean"),
    click.option("--embedding-prompt", help="Prompt template, or a file that holds it."),
    click.option("--embedding-layer", type=int, default=-1, help="Hidden state; -1 is the last."),
)


def _apply(options):
    def decorate(command):
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


model_options = _apply(MODEL_OPTIONS)
embedding_options = _apply(EMBEDDING_OPTIONS)
