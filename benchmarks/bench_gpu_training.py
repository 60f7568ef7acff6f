"""Training on a GPU: a Gemma-2 shape with random weights, examples of about 1,000 genes.

Tokens/s and peak memory of LoRA, QLoRA and training all weights, as FINETUNE takes its steps, and
of the usual way with LoRA (see bench_training.py). On a CPU (--device cpu --shape tiny) it is only
rehearsed.

python benchmarks/bench_gpu_training.py [--shape 2B|27B] [--cells 64] [--ways "lora;usual"]
"""

from __future__ import annotations

from pathlib import Path

import click
from bench_training import run
from measure import peak_gpu_gib, save
from models import gpu_missing, random_model
from ways import report_way, run_ways

# Way of bench_training.py, and method.
WAYS = {
    "lora": ("c2sflow", "lora"),
    "qlora": ("c2sflow", "qlora"),
    "full": ("c2sflow", "full"),
    "usual": ("usual", "lora"),
}
BATCH = 8


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(["2B", "27B", "tiny"]), default="2B", show_default=True)
@click.option("--cells", default=64, show_default=True)
@click.option("--ways", default=";".join(WAYS), help="Which to measure, with semicolons between.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--folder", type=Path, hidden=True, help="The model.")
@click.option("--one", hidden=True)
def main(
    shape: str, cells: int, ways: str, device: str, folder: Path | None, one: str | None
) -> None:
    """Measure each way in a process of its own."""
    if one and folder:
        report_way(lambda: measure_one(one, cells, device, folder))
        return
    if gpu_missing(device):
        print("no GPU here: not measured")
        return
    found: dict = {"shape": shape, "cells": cells, "examples_per_step": BATCH, "ways": {}}
    with random_model(shape) as model:
        arguments = ("--device", device, "--cells", cells, "--folder", model)
        for way, made in run_ways(__file__, ways.split(";"), *arguments):
            found["ways"][way] = made
            print(way, made, flush=True)
            save(f"gpu_training_{shape}", found)


def measure_one(way: str, n_cells: int, device: str, model: Path) -> dict:
    """The figures of a way."""
    kind, method = WAYS[way]
    made = run(kind, model, n_cells, BATCH, method=method, device=device, long=True)
    return {**made, "peak_gpu_gib": peak_gpu_gib(device)}


if __name__ == "__main__":
    main()
