"""Training on a GPU: a Gemma-2 shape with random weights, examples of about 1,000 genes.

Tokens/s and peak memory of LoRA, QLoRA and training all weights, as FINETUNE takes its steps, and
of the usual way with LoRA (see bench_training.py). On a CPU (--device cpu --shape tiny) it is only
rehearsed.

python benchmarks/bench_gpu_training.py [--shape 2B|27B] [--cells 64] [--ways "lora;usual"]
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from bench_training import run
from measure import peak_gpu_gib, report_one, run_one, save
from models import random_model

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
@click.option("--one", nargs=2, type=str, hidden=True)
def main(shape: str, cells: int, ways: str, device: str, one: tuple[str, str] | None) -> None:
    """Measure each way in a process of its own."""
    if device != "cpu" and not torch.cuda.is_available():
        print("no GPU here: not measured")
        return
    if one:
        way, method = WAYS[one[0]]
        made = {"method": method, "device": device, "long": True}
        report_one(
            lambda: {
                **run(way, Path(one[1]), cells, BATCH, **made),
                "peak_gpu_gib": peak_gpu_gib(device),
            }
        )
        return
    found: dict = {"shape": shape, "cells": cells, "examples_per_step": BATCH, "ways": {}}
    with random_model(shape) as folder:
        for way in ways.split(";"):
            try:
                made = run_one(__file__, "--device", device, "--cells", cells, "--one", way, folder)
            except SystemExit as failure:  # out of memory: the others can be measured
                made = {"failed": str(failure).strip().splitlines()[-1]}
            found["ways"][way] = made
            print(way, made, flush=True)
            save(f"gpu_training_{shape}", found)


if __name__ == "__main__":
    main()
