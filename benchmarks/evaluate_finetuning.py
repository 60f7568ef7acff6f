#!/usr/bin/env python
"""Train models of the demo's size on real cells with the pipeline, and evaluate them on others.

python benchmarks/evaluate_finetuning.py kang --cells kang_harmony_2000x.h5ad --outdir results/kang

kang: interferon on blood cells, control cells paired at random and by assignment, answers greedy
and sampled; sums of cells as bulk samples among cells. (Raw counts, obs["perturbation"] of
"control" and "IFN-beta"; Kang et al., 2018, GSE96583.)
perturbench: genes activated by CRISPR in K562, unseen cells and unseen perturbations.
(Norman et al., 2019; development set of altoslabs/perturbench.)
mouse: cell types of mouse brain, said and generated. (MERFISH; test data of
czi-ai/transcriptformer.)

Each run's whole evaluation is in <outdir>/<run>/evaluation; its tables and the record of the
training are copied to benchmarks/results/finetuning/.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from finetuning_cells import bulk_neighbours, prepare_kang, prepare_perturbench  # noqa: E402
from measure import RESULTS  # noqa: E402
from measured import measured  # noqa: E402

from c2sflow.common.files import write_json  # noqa: E402

# What all models are trained with.
SCRATCH = (
    "--finetune_method", "scratch", "--prompt_gene_weight", "0.2", "--augmentation", "0.5",
)  # fmt: skip
KANG = (
    "--input_state", "lognormalized", "--min_genes", 10, "--max_genes", 200,
    "--label_column", "cell_type", "--annotate", "--perturbation_column", "perturbation",
)  # fmt: skip
KANG_TRAINING = (
    *KANG, *SCRATCH, "--finetune", "cell_type:1,perturbation:3", "--split_column", "split",
    "--epochs", 8, "--patience", 0, "--control", "perturbation == 'control'",
)  # fmt: skip
PERTURBENCH = (
    *SCRATCH, "--input_state", "lognormalized", "--min_genes", 10, "--min_cells", 1,
    "--finetune", "perturbation", "--epochs", 8, "--patience", 0,
    "--perturbation_column", "perturbation", "--control", "perturbation == 'control'",
    "--max_cells_per_perturbation", 80,
)  # fmt: skip
MOUSE = ("--min_genes", 10, "--max_genes", 200, "--label_column", "cell_type")
COMMON_TYPES = '"glutamatergic neuron","GABAergic neuron",oligodendrocyte,astrocyte'


@dataclass(frozen=True)
class Experiment:
    """Runs of the pipeline on the same cells.

    Attributes
    ----------
    prepare
        Given the file and the folder of the runs, writes ``cells.h5ad`` there, and what else the
        runs name; None takes the file as it is.
    runs
        Name and options of each. "{outdir}" is where the runs are.
    read
        What else is read of the results of a run, by its name.
    """

    prepare: Callable | None
    runs: dict[str, tuple]
    read: dict[str, Callable] = field(default_factory=dict)


EXPERIMENTS = {
    "kang": Experiment(
        prepare_kang,
        {
            "random": KANG_TRAINING,
            "assignment": (*KANG_TRAINING, "--pairing", "assignment"),
            "sampled": (
                # what the model says of cell types is that of the run before
                *(word for word in KANG if word != "--annotate"),
                "--model", "{outdir}/random/finetuned/model", "--temperature", 1,
                "--control", "perturbation == 'control' and split == 'test'",
                "--training_cells", "split != 'test'",
            ),
            "bulk": (
                "--input", "{outdir}/bulk_and_cells.csv", "--model",
                "{outdir}/random/finetuned/model", "--input_state", "lognormalized",
                "--min_genes", 10, "--min_cells", 1, "--max_genes", 200,
            ),
        },
        {"bulk": bulk_neighbours},
    ),
    "perturbench": Experiment(
        prepare_perturbench,
        {
            "unseen_cells": PERTURBENCH,
            "unseen_perturbations": (*PERTURBENCH, "--split_by", "perturbation"),
            "sampled": (
                "--input", "{outdir}/unseen_cells/c2s.h5ad", "--skip_qc",
                "--model", "{outdir}/unseen_cells/finetuned/model", "--temperature", 1,
                "--perturbation_column", "perturbation", "--max_cells_per_perturbation", 80,
                "--control", "perturbation == 'control' and c2s_split == 'test'",
                "--training_cells", "c2s_split != 'test'",
            ),
        },
    ),
    "mouse": Experiment(
        None,
        {
            "types": (
                *MOUSE, *SCRATCH, "--finetune", "cell_type,generation", "--balance_labels",
                "--epochs", 24, "--patience", 0, "--annotate",
            ),
            "generated": (
                *MOUSE, "--input", "{outdir}/types/c2s.h5ad", "--skip_qc",
                "--model", "{outdir}/types/finetuned/model", "--generate", 40,
                "--temperature", 1, "--cell_types", COMMON_TYPES,
                "--training_cells", "c2s_split != 'test'",
            ),
        },
    ),
}  # fmt: skip


@click.command(help=__doc__)
@click.argument("name", type=click.Choice(list(EXPERIMENTS)))
@click.option("--cells", "path", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--outdir", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--run", "only", help="One of the runs alone.")
@click.option("--config", help="A Nextflow configuration, for fewer cores a task.")
def main(name: str, path: Path, outdir: Path, only: str | None, config: str | None) -> None:
    """Prepare the cells; run; keep what the evaluation says."""
    made_with = measured()  # the code as the run begins
    experiment, outdir = EXPERIMENTS[name], outdir.resolve()
    outdir.mkdir(parents=True, exist_ok=True)
    cells = path.resolve()
    if experiment.prepare is not None:
        cells = outdir / "cells.h5ad"
        if not cells.exists():
            experiment.prepare(path, outdir)
    for run in [only] if only else experiment.runs:
        options = [str(word).format(outdir=outdir) for word in experiment.runs[run]]
        command = [
            "nextflow", "run", HERE.parent, "-resume", "-ansi-log", "false",
            *(["-c", config] if config else []),
            *(["--input", cells] if "--input" not in options else []),
            "--outdir", outdir / run, *options,
        ]  # fmt: skip
        (outdir / f".{run}").mkdir(exist_ok=True)  # a folder of its own, so that two can go at once
        subprocess.run([str(word) for word in command], cwd=outdir / f".{run}", check=True)
        kept = RESULTS / "finetuning" / name / run
        keep(outdir / run, kept, {"options": options, "measured": made_with})
        if run in experiment.read:
            write_json(kept / "read.json", experiment.read[run](outdir / run))


def keep(results: Path, folder: Path, run: dict) -> None:
    """Copy the tables of the evaluation and the record of the training; write run.json beside."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for table in results.glob("evaluation/*.tsv"):
        shutil.copyfile(table, folder / table.name)
    record = results / "finetuned" / "finetune.json"
    if record.exists():
        shutil.copyfile(record, folder / record.name)
    write_json(folder / "run.json", run)


if __name__ == "__main__":
    main()
