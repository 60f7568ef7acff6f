#!/usr/bin/env python
"""Measure the model that `-profile demo_model` trained, and put it where the demo finds it.

python benchmarks/install_demo_model.py results/demo_model assets/demo_model
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bin")]


@click.command(help=__doc__)
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("outdir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--threads", default=2, show_default=True)
def main(results: Path, outdir: Path, threads: int) -> None:
    """Copy the run's model directory, its record and the names of its test cells."""
    import pandas as pd
    import torch
    from demo_model.card import with_demo_figures

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(threads)
    run = results / "finetuned"
    splits = pd.read_csv(run / "splits.tsv", sep="\t")
    with tempfile.TemporaryDirectory(prefix=".demo_model-", dir=outdir.parent) as name:
        made, old = Path(name) / "made", Path(name) / "old"
        shutil.copytree(run / "model", made)
        card = with_demo_figures((made / "README.md").read_text(), made)
        (made / "README.md").write_text(card)
        shutil.copyfile(run / "finetune.json", made / "training.json")
        heldout = splits.loc[splits["split"] == "test", "cell_id"]
        (made / "heldout_cells.txt").write_text("".join(f"{cell}\n" for cell in heldout))
        if outdir.exists():
            outdir.rename(old)
        made.rename(outdir)


if __name__ == "__main__":
    main()
