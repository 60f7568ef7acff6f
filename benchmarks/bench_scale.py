"""QC, SENTENCES and MERGE of a synthetic atlas: time per cell and peak memory by number of cells.

Cells × 20,000 genes, about 500 genes a cell, negative binomial; embeddings ready made, as wide as
the 2B model's. Every step runs in a process of its own, through the library as its script does.
With --scanpy, what QC does is also done as a user of scanpy does it, in memory: read_h5ad,
calculate_qc_metrics, filter_cells, filter_genes, normalize_total, log1p, write_h5ad (lzf, as QC's);
and once more with the counts kept in a layer, as QC keeps them.

python benchmarks/bench_scale.py --cells 50000 --cells 200000 --cells 1000000
python benchmarks/bench_scale.py --counts 4250 --cells 10000 --cells 30000 --scanpy --name dense
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pandas as pd
from measure import report_one, run_one, save
from scipy import sparse

GENES, WIDTH, SHARD, BLOCK = 20_000, 2304, 2000, 5000
DEPTH, SHAPE = 620, 6.0  # mean and shape of the gamma distribution of a cell's counts
STEPS = ("qc", "sentences", "merge")
FILES = ("input.h5ad", "atlas.h5ad", "shards", "embeddings", "c2s.h5ad")  # what they leave on disk


def atlas(n_cells: int, depth: float = DEPTH, seed: int = 0) -> Iterator[sparse.csr_matrix]:
    """Counts by blocks: Poisson of a gene's share times a gamma size is negative binomial."""
    random = np.random.default_rng(seed)
    share = random.lognormal(0, 1.6, GENES)
    # Molecules find their genes by a table: a million draws of a discrete distribution at once.
    table = np.searchsorted(np.cumsum(share / share.sum()), (np.arange(2**20) + 0.5) / 2**20)
    table = np.minimum(table, GENES - 1).astype(np.int32)
    for start in range(0, n_cells, BLOCK):
        n = min(BLOCK, n_cells - start)
        sizes = random.poisson(random.gamma(SHAPE, depth / SHAPE, n))
        genes = table[random.integers(0, 2**20, sizes.sum())]
        pointers = np.concatenate([[0], np.cumsum(sizes)])
        block = sparse.csr_matrix(
            (np.ones(genes.size, np.float32), genes, pointers), shape=(n, GENES)
        )
        block.sum_duplicates()
        yield block


def make_input(folder: Path, n_cells: int, depth: float) -> None:
    """The atlas as h5ad, with annotation such as a study brings along."""
    from c2sflow.data.h5ad import RowWriter, append_dense, create_h5ad

    random = np.random.default_rng(1)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(random.choice(["B", "T", "NK", "monocyte"], n_cells)),
            "score": random.random(n_cells),
        },
        index=[f"AAACCTGAGAAACC-{n}" for n in range(n_cells)],
    )
    genes = [f"GENE{n}" for n in range(GENES - 13)] + [f"MT-{n}" for n in range(13)]
    with create_h5ad(folder / "input.h5ad", obs, pd.DataFrame(index=genes)) as file:
        matrix = RowWriter(file, "X", GENES)
        for block in atlas(n_cells, depth):
            matrix.append(block)
            pca = random.standard_normal((block.shape[0], 50), dtype=np.float32)
            append_dense(file, "obsm/X_pca", pca)


def make_embeddings(folder: Path, *_: float) -> None:
    """Embeddings of every shard, as EMBED writes them."""
    import pyarrow.parquet as pq
    from anndata import AnnData

    vectors = np.random.default_rng(2).standard_normal((SHARD, WIDTH), dtype=np.float32)
    (folder / "embeddings").mkdir()
    for shard in sorted((folder / "shards").glob("*.parquet")):
        cells = pq.read_table(shard, columns=["cell_id", "n_genes"]).to_pandas()
        obs = cells.set_index("cell_id").rename(columns={"n_genes": "c2s_n_genes"})
        made = AnnData(obs=obs, obsm={"X_c2s": vectors[: len(obs)]})
        made.write_h5ad(folder / "embeddings" / f"{shard.stem}.embedding.h5ad")


def qc(folder: Path, *_: float) -> None:
    """As QC."""
    from c2sflow.data.qc.qc import Filters, run_qc
    from c2sflow.data.state.normalization import State

    run_qc(
        folder / "input.h5ad", folder / "atlas.h5ad", sample="atlas", organism="human",
        state=State("counts"), filters=Filters(min_genes=200),
    )  # fmt: skip


def sentences(folder: Path, *_: float) -> None:
    """As SENTENCES."""
    from c2sflow.data.readers import open_anndata
    from c2sflow.sentences.shards import genes_per_cell, shard_bounds, write_shards

    bounds = shard_bounds(genes_per_cell(folder / "atlas.h5ad"), SHARD)
    with open_anndata(folder / "atlas.h5ad") as data:
        write_shards(data, bounds, "atlas", folder)


def merge(folder: Path, *_: float) -> None:
    """As MERGE."""
    from c2sflow.results.merge import merge_samples
    from c2sflow.results.shards import Sample

    parts = sorted((folder / "embeddings").glob("*.h5ad"))
    merge_samples([Sample("atlas", "atlas", folder / "atlas.h5ad", parts)], folder / "c2s.h5ad", {})


def in_scanpy(folder: Path, *_: float, with_counts: bool = False) -> None:
    """As a user of scanpy does it, with QC's thresholds."""
    import anndata as ad
    import scanpy as sc

    adata = ad.read_h5ad(folder / "input.h5ad")
    adata.var["mt"] = adata.var_names.str.startswith("MT-")
    sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
    sc.pp.filter_cells(adata, min_genes=200)
    adata = adata[adata.obs["pct_counts_mt"] <= 20].copy()
    sc.pp.filter_genes(adata, min_cells=3)
    if with_counts:
        adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata, base=10)
    adata.write_h5ad(folder / "scanpy.h5ad", compression="lzf")


def step(name: str, folder: Path, n_cells: int, depth: float) -> dict:
    """Seconds of one step, by the clock and of all cores together; without starting Python."""
    import c2sflow.data.qc.qc
    import c2sflow.results.merge
    import c2sflow.sentences.shards  # noqa: F401  (not to be counted)

    if name.startswith("scanpy"):
        import_module("scanpy")

    start, cpu = time.perf_counter(), time.process_time()
    {
        "input": make_input,
        "qc": qc,
        "sentences": sentences,
        "embeddings": make_embeddings,
        "merge": merge,
        "scanpy": in_scanpy,
        "scanpy_with_counts": partial(in_scanpy, with_counts=True),
    }[name](folder, n_cells, depth)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }


def measure(n_cells: int, depth: float, with_scanpy: bool) -> dict:
    """Each step of an atlas of this size."""
    ways = ("scanpy", "scanpy_with_counts") if with_scanpy else ()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for which in ("input", *ways, "qc", "sentences", "embeddings", "merge"):
            made = run_one(__file__, "--one", which, folder, n_cells, depth)
            if which in (*STEPS, *ways):
                figures[which] = {
                    **made,
                    "microseconds_per_cell": 1e6 * made["seconds"] / n_cells,
                    "cpu_microseconds_per_cell": 1e6 * made["cpu_seconds"] / n_cells,
                }
                print(f"{n_cells} cells, {which}: {figures[which]}", flush=True)
        for way in ways:
            for name in ("cpu_seconds", "peak_mib"):
                figures[way][f"qc_to_it_{name}"] = figures["qc"][name] / figures[way][name]
        figures["bytes"] = {name: size(Path(folder) / name) for name in FILES}
    return figures


def size(path: Path) -> int:
    """Bytes of a file, or of those of a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def growth(figures: dict[int, dict]) -> dict:
    """Largest size against the smallest: time per cell, memory, and kilobytes a further cell."""
    small, large = min(figures), max(figures)
    told = {}
    for name in STEPS:
        one, other = figures[small][name], figures[large][name]
        more = other["peak_mib"] - one["peak_mib"]
        told[name] = {
            "time_per_cell": other["microseconds_per_cell"] / one["microseconds_per_cell"],
            "cpu_time_per_cell": other["cpu_microseconds_per_cell"]
            / one["cpu_microseconds_per_cell"],
            "peak_memory": other["peak_mib"] / one["peak_mib"],
            "kib_per_further_cell": 1024 * more / max(1, large - small),
        }
    return told


@click.command(help=__doc__)
@click.option("--cells", multiple=True, type=int, default=(50_000, 200_000, 1_000_000))
@click.option("--counts", "depth", default=DEPTH, type=float, help="Of a cell, in the mean.")
@click.option("--scanpy", "with_scanpy", is_flag=True, help="Measure scanpy's way, too.")
@click.option("--one", nargs=4, type=str, hidden=True)
@click.option("--name", default="scale", help="Of the file of results.")
def main(
    cells: tuple[int, ...],
    depth: float,
    with_scanpy: bool,
    one: tuple[str, str, str, str] | None,
    name: str,
) -> None:
    """Measure each size and write benchmarks/results/scale.json."""
    if one:
        report_one(lambda: step(one[0], Path(one[1]), int(one[2]), float(one[3])))
        return
    figures = {}
    for n_cells in cells:
        figures[n_cells] = measure(n_cells, depth, with_scanpy)
        told = {
            "genes": GENES,
            "counts_per_cell": depth,
            "embedding_width": WIDTH,
            "load": os.getloadavg()[2],
        }
        told |= {"cells": figures, "growth": growth(figures)}
        save(name, told)
    print(told["growth"])


if __name__ == "__main__":
    main()
