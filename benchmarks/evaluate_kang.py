#!/usr/bin/env python
"""Train a model of the demo's size on real control and interferon cells, and evaluate it on others.

python benchmarks/evaluate_kang.py --cells kang.h5ad --outdir results/kang

The cells: an AnnData file of raw counts with obs["perturbation"] of "control" and "IFN-beta"
(Kang et al., 2018, GSE96583). Four of five cells of each type and condition are trained on. The
pipeline then predicts IFN-beta for the other control cells, and evaluates against the other
stimulated cells: <outdir>/greedy/evaluation, and <outdir>/sampled/evaluation at temperature 1.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bin")]
RUNS = {"greedy": (), "sampled": ("--temperature", "1")}


@click.command(help=__doc__)
@click.option("--cells", "path", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--outdir", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--steps", default=800, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(path: Path, outdir: Path, steps: int, seed: int, threads: int) -> None:
    """Split, train unless the model is there, run the pipeline."""
    from perturbation_model.cells import kang_cells

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    outdir = outdir.resolve()
    outdir.mkdir(parents=True, exist_ok=True)
    cells = kang_cells(path)
    cells.write_h5ad(outdir / "cells.h5ad")
    if not (outdir / "model" / "training.json").exists():
        _train(cells, outdir / "model", steps, seed, threads)
    for name, options in RUNS.items():
        _run_pipeline(outdir, name, options)


def _train(cells, directory: Path, steps: int, seed: int, threads: int) -> None:
    import torch
    from demo_model.saving import save
    from demo_model.tokenizer import demo_tokenizer
    from demo_model.training import Recipe, train
    from perturbation_model.tasks import PerturbationStream

    from c2sflow.provenance import write_json
    from c2sflow.sentences import gene_words
    from c2sflow.small_gemma import make_model

    torch.set_num_threads(threads)
    names = sorted({*cells.obs["cell_type"], *cells.obs["perturbation"]})
    tokenizer = demo_tokenizer(gene_words(cells.var_names), names)
    model = make_model(tokenizer, seed)
    recipe = Recipe(steps=steps, seed=seed)
    figures = train(model, PerturbationStream(cells, tokenizer, seed), recipe)
    save(model, tokenizer, cells.obs_names[cells.obs["split"] == "test"], directory)
    record = {"threads": threads, "n_parameters": model.num_parameters(), **asdict(recipe)}
    write_json(directory / "training.json", {**record, **figures})
    print(json.dumps({**record, **figures}))


def _run_pipeline(outdir: Path, name: str, options: tuple[str, ...]) -> None:
    command = [
        "nextflow", "run", str(HERE.parent), "-resume", "-ansi-log", "false",
        "--input", outdir / "cells.h5ad", "--input_state", "lognormalized",
        "--model", outdir / "model", "--outdir", outdir / name, "--min_genes", 10,
        "--max_genes", 200, "--label_column", "cell_type",
        "--perturbation_column", "perturbation",
        "--control", "perturbation == 'control' and split == 'test'",
        "--training_cells", "split == 'train'", *options,
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], cwd=outdir, check=True)


if __name__ == "__main__":
    main()
