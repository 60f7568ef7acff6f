"""Command-line options of the steps that run a model."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

Decorator = Callable[[Callable], Callable]


def files(option: str, help: str) -> Decorator:
    """An option that is given once for each of several files."""
    return click.option(
        option, required=True, multiple=True, type=click.Path(exists=True), help=help
    )


def by_name(paths: Sequence[str], suffix: str) -> dict[str, Path]:
    """The files of such an option by their names without the suffix."""
    return {Path(path).name.removesuffix(suffix): Path(path) for path in paths}


SHARDS = files("--shard", "Parquet of SENTENCES; once for each shard.")
COMPILE_CACHE = click.option(
    "--compile-cache",
    envvar="C2SFLOW_COMPILE_CACHE",
    help="Folder, shared by tasks, of what Triton and torch compile.",
)
MODEL_OPTIONS = (
    click.option("--model", required=True, type=click.Path(exists=True), help="Model directory."),
    click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N."),
    click.option(
        "--dtype", type=click.Choice(["auto", "bfloat16", "float16", "float32"]), default="auto"
    ),
    click.option(
        "--attention",
        type=click.Choice(
            ["auto", "packed", "blockwise", "eager", "sdpa", "flex_attention", "flash_attention_2"]
        ),
        default="auto",
    ),
    click.option(
        "--quantization", type=click.Choice(["none", "nf4", "int8", "fp8"]), default="none"
    ),
    click.option("--max-batch-tokens", default="auto", help="Tokens per batch, or auto."),
    COMPILE_CACHE,
)


class _Variant(click.ParamType):
    """The number of a wording, or "all"."""

    name = "number or all"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        from c2sflow.common.errors import UserError
        from c2sflow.sentences.variants import read_variant

        try:
            return read_variant(value)
        except UserError as error:
            self.fail(str(error), param, ctx)


VARIANT = click.option(
    "--prompt-variant", type=_Variant(), help="Wording of the built-in prompt: a number, or all."
)
PROMPT_OPTIONS = (
    click.option("--embedding-prompt", help="Prompt template, or a file with it."),
    click.option(
        "--embedding-layer",
        type=int,
        default=-1,
        help="Index of the hidden states; -1 is the last.",
    ),
)
ATTEMPT = click.option(
    "--attempt",
    type=click.IntRange(1),
    default=1,
    help="Number of this attempt; each halves the tokens per batch.",
)
POOLING = click.option("--pooling", type=click.Choice(["mean", "last", "genes"]), default="mean")


def _apply(options: Sequence[Decorator]) -> Decorator:
    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


model_options = _apply(MODEL_OPTIONS)
prompt_options = _apply(PROMPT_OPTIONS)
embedding_options = _apply((POOLING, *PROMPT_OPTIONS, VARIANT, ATTEMPT))
