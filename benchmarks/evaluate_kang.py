#!/usr/bin/env python
"""Train a model of the demo's size on real control and interferon cells, and evaluate it on others.

python benchmarks/evaluate_kang.py --cells kang.h5ad --outdir results/kang

The cells: an AnnData file of raw counts with obs["perturbation"] of "control" and "IFN-beta"
(Kang et al., 2018, GSE96583). Three of four cells of each type and condition are trained on; the
pipeline's own --finetune does it, predicts IFN-beta for held-out control cells and evaluates
against held-out stimulated cells: <outdir>/greedy/evaluation; and with the trained model at
temperature 1, <outdir>/sampled/evaluation.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
FINETUNE = (
    "--finetune", "cell_type:1,perturbation:3", "--finetune_method", "scratch",
    "--split_column", "split", "--prompt_gene_weight", "0.2", "--augmentation", "0.2",
)  # fmt: skip
CONTROL = "perturbation == 'control'"


@click.command(help=__doc__)
@click.option("--cells", "path", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--outdir", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--epochs", default=8, show_default=True)
def main(path: Path, outdir: Path, epochs: int) -> None:
    """Split the cells; train and evaluate; evaluate sampled answers."""
    from kang_cells import kang_cells

    outdir = outdir.resolve()
    outdir.mkdir(parents=True, exist_ok=True)
    kang_cells(path).write_h5ad(outdir / "cells.h5ad")
    run(outdir, "greedy", *FINETUNE, "--epochs", epochs, "--control", CONTROL)
    run(
        outdir, "sampled", "--model", outdir / "greedy/finetuned/model", "--temperature", 1,
        "--control", f"{CONTROL} and split == 'test'", "--training_cells", "split != 'test'",
    )  # fmt: skip


def run(outdir: Path, name: str, *options: object) -> None:
    """One run of the pipeline."""
    command = [
        "nextflow", "run", HERE.parent, "-resume", "-ansi-log", "false",
        "--input", outdir / "cells.h5ad", "--input_state", "lognormalized",
        "--outdir", outdir / name, "--min_genes", 10, "--max_genes", 200,
        "--label_column", "cell_type", "--annotate", "--perturbation_column", "perturbation",
        *options,
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], cwd=outdir, check=True)


if __name__ == "__main__":
    main()
