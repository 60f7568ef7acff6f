"""SENTENCES against the usual loop over cells: 20,000 cells × 20,000 genes, 2,000 genes a cell.

Both read the same h5ad and write Parquet. The loop is that of Cell2Sentence's own code: one
process, the cell's genes shuffled, sorted stably by expression, their names joined. It
knows no --max_genes; "loop 200" is the same loop joining the first 200 only.

python benchmarks/bench_sentences.py
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pandas as pd
from measure import middle, report_one, run_one, save
from scipy import sparse

CELLS, GENES, EXPRESSED, BLOCK = 20_000, 20_000, 2000, 1000
CORES = 2


def make_input(path: Path) -> None:
    """Log-normalised values of geometric counts, which tie as real ones do."""
    from c2sflow.data.h5ad import RowWriter, create_h5ad
    from c2sflow.data.state.normalization import State, normalise

    random = np.random.default_rng(0)
    obs = pd.DataFrame({"sample": "s"}, index=[f"cell{n}" for n in range(CELLS)])
    var = pd.DataFrame(index=[f"GENE{n}" for n in range(GENES)])
    with create_h5ad(path, obs, var) as file:
        matrix = RowWriter(file, "X", GENES)
        for _ in range(0, CELLS, BLOCK):
            expressed = random.random((BLOCK, GENES), dtype=np.float32) < EXPRESSED / GENES
            block = sparse.csr_matrix(expressed, dtype=np.float32)
            block.data[:] = random.geometric(0.6, block.nnz)
            matrix.append(normalise(block, State("counts")))


def usual_loop(path: Path, folder: Path, max_genes: int | None) -> None:
    """One process, one cell after the other."""
    import anndata as ad

    adata = ad.read_h5ad(path)
    matrix, names = adata.X, list(adata.var_names.str.upper())
    random, texts = np.random.default_rng(42), []
    for row in range(adata.n_obs):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        shuffled = random.permutation(span.stop - span.start)
        genes, values = matrix.indices[span][shuffled], matrix.data[span][shuffled]
        ranked = genes[np.argsort(-values, kind="stable")][:max_genes]
        texts.append(" ".join([names[gene] for gene in ranked]))
    table = pd.DataFrame({"cell_id": adata.obs_names, "cell_sentence": texts})
    table.to_parquet(folder / "sentences.parquet")


def step(path: Path, folder: Path, max_genes: int | None) -> None:
    """As SENTENCES."""
    from c2sflow.data.readers import open_anndata
    from c2sflow.sentences.shards import genes_per_cell, shard_bounds, write_shards

    os.environ["OMP_NUM_THREADS"] = str(CORES)
    bounds = shard_bounds(genes_per_cell(path), "auto", max_genes)
    with open_anndata(path) as data:
        write_shards(data, bounds, "s", folder, max_genes=max_genes)


WAYS = {
    "loop": (usual_loop, None),
    "step": (step, None),
    "loop 200": (usual_loop, 200),
    "step 200": (step, 200),
}


def timed(way: Callable, max_genes: int | None, path: Path) -> dict:
    """Seconds of one way, without starting Python."""
    import anndata as ad  # noqa: F401  (not to be counted in either way)
    import pyarrow.parquet as pq  # noqa: F401

    from c2sflow.data import readers as anndata_io  # noqa: F401
    from c2sflow.sentences import shards  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        way(path, Path(folder), max_genes)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu, "cells_per_second": CELLS / seconds}


def speedup(figures: dict[str, dict], clock: str) -> dict:
    """Of the step against the loop; by CPU time it says what one core alone would gain."""
    taken = {name: made[clock] for name, made in figures.items()}
    return {
        "all genes": taken["loop"] / taken["step"],
        "max_genes 200": taken["loop"] / taken["step 200"],
        "max_genes 200, the loop cut too": taken["loop 200"] / taken["step 200"],
    }


@click.command(help=__doc__)
@click.option("--repeats", default=3, show_default=True)
@click.option("--one", nargs=2, type=str, hidden=True)
def main(repeats: int, one: tuple[str, str] | None) -> None:
    """Both ways in turn, each in a process of its own; the middle of the repeats."""
    if one:
        path = Path(one[1])
        if one[0] == "input":
            report_one(lambda: make_input(path) or {})
        else:
            report_one(lambda: timed(*WAYS[one[0]], path))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.h5ad"
        run_one(__file__, "--one", "input", path)
        runs: dict[str, list] = {name: [] for name in WAYS}
        for _ in range(repeats):
            for name, made in runs.items():
                made.append(run_one(__file__, "--one", name, path))
                print(name, made[-1], flush=True)
        figures = {name: middle(made) for name, made in runs.items()}
    speedups = {clock: speedup(figures, clock) for clock in ("seconds", "cpu_seconds")}
    print(speedups)
    load = os.getloadavg()[2]
    save(
        "sentences",
        {"cells": CELLS, "threads": CORES, "load": load, **figures, "speedup": speedups},
    )


if __name__ == "__main__":
    main()
