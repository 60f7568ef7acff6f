"""Cell2sentence and Helical against c2sflow: the demo's cells and model, on a CPU.

Each package runs in an interpreter that has it, with its own defaults (batches of 8, of 16, and by
memory), every run in a process of its own, the packages in turn; figures are medians. All read
the same AnnData and take as many genes of each cell. Agreement is by cosine with c2sflow's vectors:
of each package's own sentences and prompts, and of the same prompts given to all. Of the same
cells, vectors share much; "centred" is the cosine after the mean of all cells is subtracted.

Two concessions: cell2sentence gets a float32 copy of the model, as it cannot embed with bfloat16
weights where transformers keeps them so (the error is in the result); the path of Helical's model
is replaced, as its config has no option for one.

python benchmarks/bench_peers.py --cell2sentence-python PATH --helical-python PATH [--rounds 3]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from measure import middle, save
from measured import output
from models import DEMO
from peers import CELL_TYPES, PERTURBATION

HERE = Path(__file__).resolve().parent
EMBEDDING = ("c2sflow", "plain script", "plain script, float32", "cell2sentence", "helical")
GENERATION = (
    "c2sflow, cells", "cell2sentence, cells", "c2sflow, perturbed", "helical, perturbed",
)  # fmt: skip
PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "anndata", "datasets")
POOLING = {
    "c2sflow": "mean over the tokens of the prompt",
    "plain script": "mean over the tokens of the prompt",
    "cell2sentence": "mean over all positions, padding included",
    "helical": "mean over the tokens of the prompt",
}


def write_cells(path: Path, n_cells: int) -> None:
    """Cells of the demo as one file, with the columns that cell2sentence's prompts need."""
    import anndata

    from c2sflow.data.demo import LABEL, demo_samples

    cells = anndata.concat(demo_samples().values())[:n_cells].copy()
    cells.obs = cells.obs[[LABEL]].rename(columns={LABEL: "cell_type"}).astype(str)
    cells.obs["organism"] = "human"
    cells.write_h5ad(path)


def write_float32(folder: Path) -> None:
    """The demo model with its weights in float32: the same values."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(DEMO).save_pretrained(folder)


def run_way(way: str, python: str, job: dict) -> dict:
    """Figures of one run."""
    path = Path(job["folder"]) / "job.json"
    path.write_text(json.dumps({**job, "way": way}), encoding="utf-8")
    command = [python, str(HERE / "peers.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def versions(python: str, package: str) -> dict[str, str]:
    """Of Python, the package and what it computes with, in that interpreter."""
    code = (
        "import importlib.metadata as m, json, platform, sys\n"
        "print(json.dumps({'python': platform.python_version(), "
        "**{n: m.version(n) for n in sys.argv[1:] if any(m.distributions(name=n))}}))"
    )
    return json.loads(output([python, "-c", code, package, *PACKAGES]))


def agreement(folder: Path, way: str) -> dict[str, float]:
    """Cosines of a way's vectors with c2sflow's."""
    ours, theirs = (np.load(folder / f"{name}.npy").astype(float) for name in ("c2sflow", way))
    plain, centred = cosines(ours, theirs), cosines(ours - ours.mean(0), theirs - theirs.mean(0))
    return {
        "cosine_median": float(np.median(plain)),
        "cosine_min": float(plain.min()),
        "centred_cosine_median": float(np.median(centred)),
        "centred_cosine_min": float(centred.min()),
        "largest_difference": float(abs(ours - theirs).max()),
    }


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the rows of two matrices."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def ratios(found: dict[str, dict], measures: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Each way's figures by those of c2sflow at the same task."""
    made = {}
    for way, figures in found.items():
        _, _, task = way.partition(", ")
        ours = found.get(f"c2sflow, {task}", found.get("c2sflow"))
        if not way.startswith("c2sflow") and ours:
            names = [name for name in measures if name in figures]
            made[way] = {name: figures[name] / ours[name] for name in names}
    return made


@click.command(help=__doc__)
@click.option("--cell2sentence-python", type=click.Path(exists=True), required=True)
@click.option("--helical-python", type=click.Path(exists=True), required=True)
@click.option("--cells", default=700, show_default=True)
@click.option("--genes", default=180, show_default=True, help="Of a sentence; cells have 183.")
@click.option("--answers", default=96, show_default=True)
@click.option("--tokens", default=100, show_default=True, help="Of an answer, at most.")
@click.option("--rounds", default=3, show_default=True)
def main(
    cell2sentence_python: str,
    helical_python: str,
    cells: int,
    genes: int,
    answers: int,
    tokens: int,
    rounds: int,
) -> None:
    """Measure all packages in turn, print their ratios, write results/peers.json."""
    pythons = {"cell2sentence": cell2sentence_python, "helical": helical_python}

    def python_of(way: str) -> str:
        return pythons.get(way.partition(",")[0], sys.executable)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cells(folder / "cells.h5ad", cells)
        write_float32(folder / "model_float32")
        job = {
            "model": str(DEMO), "model_float32": str(folder / "model_float32"), "genes": genes,
            "cells": str(folder / "cells.h5ad"), "answers": answers, "tokens": tokens,
            "folder": name,
        }  # fmt: skip
        runs: dict[str, list[dict]] = {way: [] for way in EMBEDDING + GENERATION}
        for _ in range(rounds):
            for way, made in runs.items():
                made.append(run_way(way, python_of(way), job))
                print(f"{way:24}", {k: round(v, 2) for k, v in made[-1].items()}, flush=True)
        for peer in pythons:
            run_way(f"{peer}, same prompts", python_of(peer), job)
        error = run_way("cell2sentence, bfloat16", cell2sentence_python, job)["error"]
        found = {way: middle(made) for way, made in runs.items()}
        agreed = {
            "cell2sentence, own prompts": agreement(folder, "cell2sentence"),
            "cell2sentence, same prompts": agreement(folder, "cell2sentence, same prompts"),
            "cell2sentence, same prompts, one at a time": agreement(
                folder, "cell2sentence, same prompts, single"
            ),
            "helical, own prompts": agreement(folder, "helical"),
            "helical, same prompts": agreement(folder, "helical, same prompts"),
        }
    for way in GENERATION:
        found[way]["words_a_second"] = found[way]["words"] / found[way]["generate_seconds"]
    embedding = {way: found[way] for way in EMBEDDING}
    generation = {way: found[way] for way in GENERATION}
    figures = {
        "packages": {peer: versions(python, peer) for peer, python in pythons.items()},
        "cells": cells, "genes": genes, "answers": answers, "tokens": tokens, "rounds": rounds,
        "cell_types": CELL_TYPES, "perturbation": PERTURBATION, "pooling": POOLING,
        "cell2sentence_with_bfloat16_weights": error,
        "embedding": embedding,
        "embedding_ratios": ratios(embedding, ("seconds", "embed_seconds", "peak_mib")),
        "agreement": agreed,
        "generation": generation,
        "generation_ratios": ratios(generation, ("generate_seconds", "words_a_second", "peak_mib")),
    }  # fmt: skip
    for key in ("embedding_ratios", "generation_ratios", "agreement"):
        for way, made in figures[key].items():
            print(way, {name: round(value, 4) for name, value in made.items()})
    save("peers", figures)


if __name__ == "__main__":
    main()
