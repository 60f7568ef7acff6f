#!/usr/bin/env python
"""Train the bundled demo model on the demo cells, on a CPU, and measure it.

python benchmarks/train_demo_model.py --outdir assets/demo_model
"""

from __future__ import annotations

import json
import logging
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bin")]


@click.command(help=__doc__)
@click.option("--outdir", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--steps", default=2000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--pooled-weight", default=0.3, show_default=True, help="0: no type classifier.")
@click.option(
    "--fold",
    type=click.IntRange(0, 4),
    help="Cross-validate within the training cells, to choose a recipe.",
)
def main(
    outdir: Path, steps: int, seed: int, threads: int, pooled_weight: float, fold: int | None
) -> None:
    """Train, save, evaluate, write the model card."""
    import torch
    from demo_model.card import evaluate_and_write_card
    from demo_model.cells import demo_cells, split
    from demo_model.saving import save
    from demo_model.tasks import ExampleStream
    from demo_model.tokenizer import demo_tokenizer
    from demo_model.training import Recipe, train

    from c2sflow.provenance import software_versions, write_json
    from c2sflow.small_gemma import make_model

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(threads)
    cells = demo_cells()
    trained_on, heldout = split(cells.labels, fold)
    recipe = Recipe(steps=steps, seed=seed, pooled_weight=pooled_weight)
    tokenizer = demo_tokenizer(cells.words, cells.types)
    model = make_model(tokenizer, seed)
    figures = train(model, ExampleStream(cells, trained_on, tokenizer, seed), recipe)
    save(model, tokenizer, cells.ids[heldout], outdir)
    command = shlex.join(["python", "benchmarks/train_demo_model.py", *sys.argv[1:]])
    record = {"command": command, "fold": fold, "threads": threads, **asdict(recipe), **figures}
    write_json(outdir / "training.json", {**record, "software": software_versions()})
    evaluate_and_write_card(outdir)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
