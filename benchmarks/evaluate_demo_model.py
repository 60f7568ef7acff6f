#!/usr/bin/env python
"""Measure the bundled demo model on its held-out cells and write its model card anew.

python benchmarks/evaluate_demo_model.py --outdir assets/demo_model
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bin")]


@click.command(help=__doc__)
@click.option(
    "--outdir", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True
)
@click.option("--threads", default=2, show_default=True)
def main(outdir: Path, threads: int) -> None:
    """Evaluate what `train_demo_model.py` left in `outdir`."""
    import torch
    from demo_model.card import evaluate_and_write_card

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(threads)
    evaluate_and_write_card(outdir)


if __name__ == "__main__":
    main()
