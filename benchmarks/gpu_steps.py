"""The steps that run a model, on a GPU and on the CPU, on cells of the demo: do they agree?

EMBED, ANNOTATE, PERTURB, GENERATE, ATTENTION, FINETUNE (LoRA, QLoRA, whole) as the workflow calls
them. Of each: exit status and seconds on both devices, and how close the results are. EMBED runs
alone, with nothing compiled and again, as two tasks do; the others beside each other.

python benchmarks/gpu_steps.py [--device cuda|cpu] [--cells 96] [--max-steps 20]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from gpu_agreement import compare_vectors
from measure import ROOT, save
from models import DEMO

SAMPLE = "lane_1"
SHARD = f"{SAMPLE}.00000"
THREADS = 4  # of a step, as the workflow gives it
AGAIN = "embed, again"  # a second task: it finds what the first has compiled
# On a GPU in float32, too, where answers must be the CPU's: half precision resolves near-ties
# otherwise, and an answer differs from there on.
EXACT = ("perturb", "generate")


def run_step(step: str, *arguments: object) -> dict:
    """Exit status, seconds and, of a failure, the last line of a step's log."""
    started = time.perf_counter()
    command = [sys.executable, ROOT / "bin" / "c2s", step, *arguments]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
    )  # fmt: skip
    made = {"status": done.returncode, "seconds": time.perf_counter() - started}
    if done.returncode:
        made["failed"] = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
    return made


def prepare(folder: Path, n_cells: int) -> None:
    """A shard of the demo's first sample, with what PLAN and CHOOSE make for it."""
    from c2sflow.common.files import write_json
    from c2sflow.data.demo import demo_samples
    from c2sflow.data.splits.splits import Rule

    demo_samples()[SAMPLE][:n_cells].copy().write_h5ad(folder / "input.h5ad")
    options = {"id": SAMPLE, "sample": SAMPLE, "organism": "human"}
    write_json(folder / "samples.json", [options])
    named = [f"--{name}={value}" for name, value in options.items()]
    state = ["--input-state=lognormalized", "--log-base=e"]
    made = [
        run_step("qc", "--h5ad", folder / "input.h5ad", *named, *state,
                 "--min-genes=10", f"--split={json.dumps(Rule(validation=0.1).asdict())}",
                 "--outdir", folder),
        run_step("sentences", "--h5ad", folder / f"{SAMPLE}.h5ad", "--id", SAMPLE,
                 "--shard-size", n_cells, "--outdir", folder),
        run_step("plan", "--cells-dir", folder, "--sentences-dir", folder, "--model", DEMO,
                 "--perturbations=conversion to CD19+ B",
                 "--outdir", folder),
        run_step("choose", "--cells-dir", folder, "--attention-maps=4", "--outdir", folder),
    ]  # fmt: skip
    if failed := [step for step in made if step["status"]]:
        sys.exit(f"the shard cannot be made: {failed}")


def model_steps(folder: Path, max_steps: int) -> dict[str, tuple[str, list, Callable]]:
    """Name to script, arguments and what compares two folders of results."""
    shard = ["--shard", folder / "shards" / f"{SHARD}.parquet", "--model", DEMO]
    train = ["--shards-dir", folder / "shards", "--sentences-dir", folder, "--model", DEMO,
             "--finetune=cell_type", "--label-column=bulk_labels",
             f"--max-steps={max_steps}"]  # fmt: skip
    return {
        "embed": ("embed", shard, compare_embeddings),
        "annotate": (
            "annotate",
            [*shard, "--cell-types", (ROOT / "assets" / "demo_cell_types.txt").read_text()],
            compare_texts("annotation", "c2s_cell_type"),
        ),
        "perturb": (
            "perturb",
            [*shard, "--plan", folder / "plans" / f"{SHARD}.plan.parquet",
             "--genes", folder / f"{SAMPLE}.sentences.json"],
            compare_texts("perturbed", "c2s_sentence"),
        ),
        "generate": (
            "generate",
            ["--task=0", "--samples", folder / "samples.json", "--sentences-dir", folder,
             "--generate=8", "--organisms=human", "--cell-types=CD19+ B", "--model", DEMO,
             "--temperature=1"],
            compare_texts("generated", "c2s_sentence"),
        ),
        "attention": (
            "attention",
            [*shard, "--chosen", folder / f"chosen/attention.00000/{SHARD}.chosen.parquet"],
            compare_maps,
        ),
        **{
            f"finetune, {method}": (
                "finetune", [*train, "--finetune-method", method], compare_training,
            )
            for method in ("lora", "qlora", "full")
        },
    }  # fmt: skip


def compare_embeddings(ours: Path, reference: Path) -> dict:
    """Of X_c2s."""
    import h5py

    vectors = []
    for folder in (ours, reference):
        with h5py.File(folder / f"{SHARD}.embedding.h5ad") as file:
            vectors.append(file["obsm/X_c2s"][:].astype(np.float64))
    return compare_vectors(*vectors)


def compare_texts(kind: str, column: str) -> Callable[[Path, Path], dict]:
    """Share of rows with the same text (sampled answers are other draws on another device)."""

    def compare(ours: Path, reference: Path) -> dict:
        import pandas as pd

        texts = [
            pd.read_parquet(next(folder.glob(f"*.{kind}.parquet")))[column].fillna("").to_numpy()
            for folder in (ours, reference)
        ]
        return {"rows": len(texts[0]), "same": float((texts[0] == texts[1]).mean())}

    return compare


def compare_maps(ours: Path, reference: Path) -> dict:
    """Largest difference of an attention from one gene to another."""
    import h5py

    far = 0.0
    with (
        h5py.File(ours / f"{SHARD}.attention.h5") as one,
        h5py.File(reference / f"{SHARD}.attention.h5") as other,
    ):
        for name, group in one["cells"].items():
            block = group["attention"][:] - other[f"cells/{name}/attention"][:]
            far = max(far, float(np.abs(block).max()))
    return {"largest_difference": far}


def compare_training(ours: Path, reference: Path) -> dict:
    """Losses at the end, of the same examples in the same order."""
    records = [json.loads((folder / "finetune.json").read_text()) for folder in (ours, reference)]
    names = ("train_loss", "attention", "dtype", "tokens_per_second", "gradient_checkpointing")
    made = {name: records[0][name] for name in names}
    return {**made, "train_loss_of_cpu": records[1]["train_loss"]}


@click.command(help=__doc__)
@click.option("--device", default="cuda", show_default=True)
@click.option("--cells", default=96, show_default=True)
@click.option("--max-steps", default=20, show_default=True)
@click.option("--steps", default="", help="Some of the steps, with semicolons between.")
@click.option("--after", type=Path, help="Leave the device alone until this file is there.")
def main(device: str, cells: int, max_steps: int, steps: str, after: Path | None) -> None:
    """Run each step on both devices; the results so far are always on disk."""
    found: dict = {"device": device, "cells": cells, "max_steps": max_steps, "steps": {}}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(at_once()) as pool:
        folder = Path(name)
        prepare(folder, cells)
        os.environ["C2SFLOW_COMPILE_CACHE"] = str(folder / "compiled")
        chosen = model_steps(folder, max_steps)
        chosen = {step: chosen[step] for step in (steps.split(";") if steps else chosen)}
        references = {
            step: pool.submit(
                run_step, script, *arguments, "--device=cpu", "--dtype=float32",
                "--outdir", folder / f"{step}, reference",
            )
            for step, (script, arguments, _) in chosen.items()
        }  # fmt: skip

        def record(run: str, made: dict, reference: Future) -> None:
            """Compare a run with the reference of its step, and write."""
            step = run.partition(", float32")[0] if run != AGAIN else "embed"
            made = {"ours": made, "reference": reference.result()}
            if not any(one["status"] for one in made.values()):
                made |= chosen[step][2](folder / f"{run}, ours", folder / f"{step}, reference")
            found["steps"][run] = made
            print(run, made, flush=True)
            save("gpu_steps", found)

        def ours(run: str, step: str, *more: str) -> dict:
            script, arguments, _ = chosen[step]
            where = (f"--device={device}", *more, "--outdir", folder / f"{run}, ours")
            return run_step(script, *arguments, *where)

        while after and not after.exists():
            time.sleep(0.2)
        for run in ("embed", AGAIN) if "embed" in chosen else ():
            record(run, ours(run, "embed"), references["embed"])
        others = {step: (step, ()) for step in chosen if step != "embed"}
        others |= {
            f"{step}, float32": (step, ("--dtype=float32",)) for step in EXACT if step in chosen
        }
        running = {run: pool.submit(ours, run, step, *more) for run, (step, more) in others.items()}
        for run, made in running.items():
            record(run, made.result(), references[others[run][0]])


def at_once() -> int:
    """Steps that this machine's cores can run beside each other."""
    return max(1, len(os.sched_getaffinity(0)) // THREADS)


if __name__ == "__main__":
    main()
