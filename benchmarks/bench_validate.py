"""VALIDATE of a samplesheet of many rows, by the number of processes that read them.

`c2s validate` as the pipeline calls it, each row a file of its own, 200 cells × 20,000 genes; the
numbers of processes in turn, so that what else the machine does befalls them alike.

python benchmarks/bench_validate.py --rows 60 --repeats 3
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
from bench_scale import make_input
from measure import ROOT, save

CELLS, COUNTS = 200, 4250.0
PROCESSES = (1, 2)


def make_rows(folder: Path, n_rows: int) -> list[str]:
    """A file for each row, and the samplesheet that names them."""
    make_input(folder, CELLS, COUNTS)
    names = [f"{number}.h5ad" for number in range(n_rows)]
    for name in names:
        shutil.copy(folder / "input.h5ad", folder / name)
    lines = [f"s{number},{name},human" for number, name in enumerate(names)]
    (folder / "sheet.csv").write_text("\n".join(["sample,path,organism", *lines]) + "\n")
    return names


def one(folder: Path, names: list[str], n_processes: int) -> dict[str, float]:
    """Seconds by the clock, and of all processes together."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        [
            sys.executable, ROOT / "bin" / "c2s", "validate",
            f"--params={json.dumps({'input': 'sheet.csv'})}",
            f"--staged={json.dumps([str(folder / name) for name in names])}",
            f"--schema={ROOT / 'nextflow_schema.json'}",
            f"--input-schema={ROOT / 'assets' / 'schema_input.json'}",
            f"--sheet={folder / 'sheet.csv'}", f"--outdir={folder}",
        ],
        env={**os.environ, "OMP_NUM_THREADS": str(n_processes)}, check=True, capture_output=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu}


@click.command(help=__doc__)
@click.option("--rows", "n_rows", type=int, default=60)
@click.option("--repeats", type=int, default=3)
def main(n_rows: int, repeats: int) -> None:
    """Measure, and write benchmarks/results/validate.json."""
    runs: dict[int, list[dict]] = {n: [] for n in PROCESSES}
    starts = {n: [] for n in PROCESSES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = make_rows(folder, n_rows)
        alone = folder / "alone"
        alone.mkdir()
        first = make_rows(alone, 1)
        for _ in range(repeats):
            for n in PROCESSES:
                runs[n].append(one(folder, names, n))
                starts[n].append(one(alone, first, n))
                print(n, runs[n][-1], starts[n][-1], flush=True)
    figures = {
        str(n): {
            f"{which}_a_row": median(
                (own[which] - start[which]) / (n_rows - 1)
                for own, start in zip(runs[n], starts[n], strict=True)
            )
            for which in ("seconds", "cpu_seconds")
        }
        for n in PROCESSES
    }
    print(figures)
    save(
        "validate", {"rows": n_rows, "load": os.getloadavg()[0], "processes": figures, "runs": runs}
    )


if __name__ == "__main__":
    main()
