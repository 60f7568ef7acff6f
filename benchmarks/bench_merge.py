"""MERGE of predicted and of generated cells: time and peak memory by number of cells.

Sentences of 200 genes of 20,000, in files of 2,000 cells as PERTURB and GENERATE write them. Each
merge runs in a process of its own, through the library as MERGE does.

python benchmarks/bench_merge.py --cells 50000 --cells 200000
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd
from measure import report_one, run_one, save

GENES, LENGTH, WIDTH, SHARD, PER_CELL = 20_000, 200, 64, 2000, 4  # predictions of a cell
FIT = {"slope": -0.5, "intercept": 2.0}
STEPS = ("predicted", "generated")


def words() -> list[str]:
    """As long as symbols are."""
    return [f"GENE{n}" for n in range(GENES)]


def make_answers(folder: Path, n_cells: int) -> None:
    """Files of predicted and of generated cells with the same sentences."""
    from c2sflow.generation.tasks import write_answers

    random, genes = np.random.default_rng(0), np.array(words())
    for start in range(0, n_cells, SHARD):
        numbers = np.arange(start, min(start + SHARD, n_cells))
        said = [
            " ".join(genes[random.choice(GENES, LENGTH, replace=False, shuffle=False)])
            for _ in numbers
        ]
        answers = {
            "organism": "human", "c2s_n_predicted_genes": LENGTH, "c2s_invalid_genes": 0,
            "c2s_duplicate_genes": 0, "c2s_finish_reason": "eos",
            "c2s_log_likelihood": random.normal(size=len(numbers)), "c2s_truncated": False,
            "c2s_sentence": said,
        }  # fmt: skip
        drugs = [f"drug {n}" for n in numbers % PER_CELL]
        predicted = {
            "source_cell": [f"AAACCTGAGAAACC-{n}" for n in numbers // PER_CELL],
            "condition": [f"{drug}, 1 µM" for drug in drugs],
            "perturbation": drugs, "dose": "1 µM", "sample": "atlas", "sample_index": 0,
        }  # fmt: skip
        generated = {
            "c2s_cell_type": [f"type {n}" for n in numbers % PER_CELL],
            "number": numbers // PER_CELL,
        }
        vectors = random.standard_normal((len(numbers), WIDTH), dtype=np.float32)
        for step, own in zip(STEPS, (predicted, generated), strict=True):
            path = folder / f"{start:09d}.{step}.parquet"
            write_answers(path, pd.DataFrame({**answers, **own}), vectors)


def control_cells(n_cells: int) -> pd.DataFrame:
    """obs of c2s.h5ad, with as many columns as an atlas has."""
    names = [f"AAACCTGAGAAACC-{n}" for n in range(n_cells)]
    random = np.random.default_rng(0)
    columns = {
        f"column {n}": pd.Categorical(random.integers(9, size=n_cells).astype(str)) if n % 2
        else random.random(n_cells)
        for n in range(20)
    }  # fmt: skip
    sample = pd.Categorical(["atlas"] * n_cells)
    return pd.DataFrame({"sample": sample, **columns}, index=names)


def merge(step: str, folder: Path, n_cells: int) -> None:
    """c2s_perturbed.h5ad or c2s_generated.h5ad."""
    from c2sflow.results.generated import merge_generated
    from c2sflow.results.predictions import Predicted, merge_predictions

    paths = sorted(folder.glob(f"*.{step}.parquet"))
    sizes = [min(SHARD, n_cells - n * SHARD) for n in range(len(paths))]
    columns, target = {word: n for n, word in enumerate(words())}, folder / f"{step}.h5ad"
    var = pd.DataFrame(index=words())
    if step == "predicted":
        cells = control_cells(-(-n_cells // PER_CELL))
        shards = [
            Predicted(path, n, columns, cells.index) for path, n in zip(paths, sizes, strict=True)
        ]
        merge_predictions(shards, cells, var, FIT, target, {})
    else:
        tasks = list(zip(paths, sizes, strict=True))
        merge_generated(tasks, {"human": columns}, var, FIT, target, {})


def work(step: str, folder: Path, n_cells: int) -> dict:
    """Seconds of a step, by the clock and of all cores together; without starting Python."""
    import c2sflow.results.generated  # noqa: F401  (not to be counted)

    start, cpu = time.perf_counter(), time.process_time()
    make_answers(folder, n_cells) if step == "input" else merge(step, folder, n_cells)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }


@click.command(help=__doc__)
@click.option("--cells", multiple=True, type=int, default=(50_000, 200_000))
@click.option("--one", nargs=3, type=str, hidden=True)
@click.option("--name", default="merge", help="Of the file of results.")
def main(cells: tuple[int, ...], one: tuple[str, str, str] | None, name: str) -> None:
    """Measure each size and write benchmarks/results/merge.json."""
    if one:
        report_one(lambda: work(one[0], Path(one[1]), int(one[2])))
        return
    figures: dict[str, dict] = {step: {} for step in STEPS}
    for n_cells in cells:
        with tempfile.TemporaryDirectory() as folder:
            run_one(__file__, "--one", "input", folder, n_cells)
            for step in STEPS:
                figures[step][n_cells] = run_one(__file__, "--one", step, folder, n_cells)
                print(f"{n_cells} cells, {step}: {figures[step][n_cells]}", flush=True)
    few, many = min(cells), max(cells)
    more = {
        step: 2**20 * (own[many]["peak_mib"] - own[few]["peak_mib"]) / max(1, many - few)
        for step, own in figures.items()
    }
    print(f"bytes a further cell: {more}")
    told = {"load": os.getloadavg()[2], "genes_a_sentence": LENGTH, **figures}
    save(name, told | {"bytes_per_further_cell": more})


if __name__ == "__main__":
    main()
