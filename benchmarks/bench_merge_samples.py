"""MERGE and EVALUATE's reading by number of samples: CPU-seconds a sample and peak memory.

Samples of 500 cells × about 25,000 of 36,000 genes, each with its own (as --min_cells leaves them),
Ensembl ids, counts and 4 further columns of var, as QC, SENTENCES and EMBED write them. Each step
runs in a process of its own that may have 256 files open. Twenty samples are made, and the others
are links to them under names of their own: what is measured reads every one, most from memory.

python benchmarks/bench_merge_samples.py --samples 50 --samples 200 --samples 1000
python benchmarks/bench_merge_samples.py --samples 100 --samples 1000 --cells 10000 \\
    --step merge --step merge_zarr --name merge_large_samples
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import pandas as pd
from measure import report_one, run_one, save

GENES, KEPT, WIDTH, MADE, FILES = 36_000, 25_000, 64, 20, 256
STEPS = ("merge", "merge_zarr", "run_cells", "report")


@dataclass
class Sizes:
    """Of every sample."""

    cells: int
    values: int  # of a cell


def reference() -> pd.DataFrame:
    """var of all genes: 20 symbols are of two genes."""
    from anndata.utils import make_index_unique

    symbols = pd.Index([f"GENE{n % (GENES - 20)}" for n in range(GENES)])
    return pd.DataFrame(
        {
            "gene_ids": [f"ENSG{n:011}" for n in range(GENES)],
            "feature_types": "Gene Expression", "genome": "GRCh38",
            "chromosome": [f"chr{n % 22}" for n in range(GENES)],
            "length": np.arange(GENES),
        },
        index=make_index_unique(symbols),
    )  # fmt: skip


def make_sample(folder: Path, number: int, sizes: Sizes) -> None:
    """<id>.h5ad, <id>.sentences.json, <id>.qc.json and the embedding of one sample."""
    import anndata as ad
    from scipy import sparse

    from c2sflow.data.genes.alignment import REPEATED, repeated_symbols
    from c2sflow.data.h5ad import RowWriter, create_h5ad
    from c2sflow.data.readers import open_anndata
    from c2sflow.sentences.shards import write_shards

    random = np.random.default_rng(number)
    name, var = f"donor{number:04d}", reference()
    var[REPEATED] = repeated_symbols(var.index)
    var = var.iloc[np.sort(random.choice(GENES, KEPT, replace=False))]
    n_cells = sizes.cells
    genes = [np.sort(random.choice(KEPT, sizes.values, replace=False)) for _ in range(n_cells)]
    values = random.integers(1, 20, n_cells * sizes.values).astype(np.float32)
    pointers = np.arange(n_cells + 1) * sizes.values
    counts = sparse.csr_matrix((values, np.concatenate(genes), pointers), (n_cells, KEPT))
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical([name] * n_cells),
            "organism": pd.Categorical(["human"] * n_cells),
            "n_genes_by_counts": sizes.values, "total_counts": random.random(n_cells),
            "type": pd.Categorical(random.choice(["B", "T"], n_cells)),
        },
        index=[f"{letters:014d}-{number}" for letters in range(n_cells)],
    )  # fmt: skip
    with create_h5ad(folder / "qc" / f"{name}.h5ad", obs, var) as file:
        RowWriter(file, "X", KEPT, ["layers/counts"]).append(counts.log1p(), counts)
    with open_anndata(folder / "qc" / f"{name}.h5ad") as data:
        summary = write_shards(data, [(0, n_cells)], name, folder)
    (folder / "sentences" / f"{name}.sentences.json").write_text(json.dumps(summary))
    report = {"sample": name, "warnings": []}
    (folder / "qc" / f"{name}.qc.json").write_text(json.dumps(report))
    vectors = random.standard_normal((n_cells, WIDTH), dtype=np.float32)
    ad.AnnData(
        obs=pd.DataFrame({"c2s_n_genes": np.full(n_cells, sizes.values)}, index=obs.index),
        obsm={"X_c2s": vectors},
    ).write_h5ad(folder / "embeddings" / f"{name}.00000.embedding.h5ad")


def link_sample(folder: Path, number: int, source: int) -> None:
    """The files of a made sample under another name, its shards' names among them."""
    name, old = f"donor{number:04d}", f"donor{source:04d}"
    for place in ("qc/{}.h5ad", "qc/{}.qc.json", "embeddings/{}.00000.embedding.h5ad"):
        (folder / place.format(name)).hardlink_to(folder / place.format(old))
    text = (folder / "sentences" / f"{old}.sentences.json").read_text().replace(old, name)
    (folder / "sentences" / f"{name}.sentences.json").write_text(text)


def merge(folder: Path, names: list[str], sizes: Sizes, kind: str = "h5ad") -> None:
    """c2s.h5ad or c2s.zarr of all samples."""
    from c2sflow.results.merge import merge_samples
    from c2sflow.results.shards import Sample

    ends = folder / "embeddings"
    samples = [
        Sample(name, name, folder / "qc" / f"{name}.h5ad", [ends / f"{name}.00000.embedding.h5ad"])
        for name in names
    ]
    target = folder / f"c2s.{kind}"
    merged = merge_samples(samples, target, {})
    assert len(merged.obs) == sizes.cells * len(names)
    if os.environ.get("KEEP"):
        return
    shutil.rmtree(target) if target.is_dir() else target.unlink()


def merge_zarr(folder: Path, names: list[str], sizes: Sizes) -> None:
    """c2s.zarr of all samples."""
    merge(folder, names, sizes, "zarr")


def read_run_cells(folder: Path, names: list[str], sizes: Sizes) -> None:
    """What EVALUATE begins with, and 1,000 cells' expression."""
    from c2sflow.evaluation.run_reader import RunCells, RunFiles

    (folder / "samples.json").write_text(
        json.dumps([{"id": name, "sample": name, "organism": "human"} for name in names])
    )
    files = RunFiles(
        folder / "samples.json", folder / "qc", folder / "sentences", folder / "shards",
        folder / "embeddings",
    )  # fmt: skip
    cells = RunCells(files)
    rows = np.random.default_rng(0).choice(len(cells.obs), 1000, replace=False)
    assert cells.expression(rows).nnz == 1000 * sizes.values


def read_report(folder: Path, names: list[str], _sizes: Sizes) -> None:
    """What REPORT reads of the samples, without the map of the cells."""
    from c2sflow.report.run import read_all, read_sentences

    assert len(read_sentences(folder / "sentences")) == len(names)
    assert len(read_all(folder / "qc", "*.qc.json")) == len(names)


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def work(step: str, folder: Path, n_samples: int, sizes: Sizes) -> dict:
    """Seconds of a step, by the clock and of all cores together; without starting Python."""

    start, cpu = time.perf_counter(), cpu_seconds()
    names = [f"donor{n:04d}" for n in range(n_samples)]
    if step == "input":
        for number in range(n_samples):
            source = number % MADE
            made = number < MADE
            make_sample(folder, number, sizes) if made else link_sample(folder, number, source)
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
        steps = (merge, merge_zarr, read_run_cells, read_report)
        dict(zip(STEPS, steps, strict=True))[step](folder, names, sizes)
    spent = cpu_seconds() - cpu
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": spent,
        "cpu_seconds_per_sample": spent / n_samples,
    }


@click.command(help=__doc__)
@click.option("--samples", multiple=True, type=int, default=(50, 200, 1000))
@click.option("--cells", default=500, help="Of a sample.")
@click.option("--values", default=200, help="Of a cell.")
@click.option("--step", "steps", multiple=True, type=click.Choice(STEPS), default=STEPS)
@click.option("--one", nargs=3, type=str, hidden=True)
@click.option("--name", default="merge_samples", help="Of the file of results.")
def main(
    samples: tuple[int, ...],
    cells: int,
    values: int,
    steps: tuple[str, ...],
    one: tuple[str, str, str] | None,
    name: str,
) -> None:
    """Measure each number and write benchmarks/results/<name>.json."""
    sizes = Sizes(cells, values)
    if one:
        report_one(lambda: work(one[0], Path(one[1]), int(one[2]), sizes))
        return
    given = ("--cells", cells, "--values", values)
    figures: dict[str, dict] = {step: {} for step in steps}
    for n_samples in samples:
        with tempfile.TemporaryDirectory() as folder:
            for part in ("qc", "sentences", "embeddings", "shards"):
                (Path(folder) / part).mkdir()
            run_one(__file__, *given, "--one", "input", folder, n_samples)
            for step in steps:
                one_step = run_one(__file__, *given, "--one", step, folder, n_samples)
                figures[step][n_samples] = one_step
                print(f"{n_samples} samples, {step}: {figures[step][n_samples]}", flush=True)
    told = {
        "load": os.getloadavg()[2], "a_sample": asdict(sizes), "genes": GENES,
        "genes_a_sample": KEPT, "open_files": FILES,
    }  # fmt: skip
    save(name, told | figures)


if __name__ == "__main__":
    main()
