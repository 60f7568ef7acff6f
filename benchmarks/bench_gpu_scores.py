"""Annotation and attention maps on a GPU: a Gemma-2 shape with random weights, 1,000 genes a cell.

Cells/s and prompt tokens/s of ANNOTATE with the demo's labels, and cells/s of ATTENTION (each cell
once as it is and three times shuffled). On a CPU (--device cpu --shape tiny) it is only rehearsed.

python benchmarks/bench_gpu_scores.py [--shape 2B|27B] [--cells 128] [--ways "annotate;attention"]
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import click
from measure import ROOT, peak_gpu_gib, save, synchronize
from models import gpu_missing, long_records, random_model
from ways import report_way, run_ways

MAPS = 8  # cells with a map: ATTENTION takes them one by one


def annotation(directory: Path, n_cells: int, device: str) -> dict:
    """Of a second run: the first loads kernels."""
    import pandas as pd

    from c2sflow.generation.annotation import annotate
    from c2sflow.model.tasks import load
    from c2sflow.sentences.prompts import ANNOTATION_PROMPT

    model, tokenizer = load({"model": directory, "device": device}, head=True)
    labels = (ROOT / "assets" / "demo_cell_types.txt").read_text().splitlines()
    cells = pd.DataFrame(long_records(n_cells))
    asked = (model, tokenizer, cells, ANNOTATION_PROMPT, labels)
    annotate(*asked, progress=False)
    stats = annotate(*asked, progress=False).stats
    return {
        "seconds": stats.seconds,
        "cells_per_second": n_cells / stats.seconds,
        "tokens_per_second": stats.n_prompt_tokens / stats.seconds,
        "labels": len(labels),
        "max_batch_tokens": stats.max_batch_tokens,
        "peak_gpu_gib": peak_gpu_gib(device),
    }


def maps(directory: Path, n_cells: int, device: str) -> dict:
    """Of the last layer, as ATTENTION makes them."""
    from c2sflow.model.attention_maps import attention_maps, shuffled_maps
    from c2sflow.model.tasks import load
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT

    where = {"model": directory, "device": device, "attention": "blockwise"}
    model, tokenizer = load(where, head=False)
    records = [
        {**record, "sample": "s", "cell_id": str(number)}
        for number, record in enumerate(long_records(min(n_cells, MAPS)))
    ]
    asked = (model, tokenizer, EMBEDDING_PROMPT, records)
    list(islice(attention_maps(*asked), 1))
    synchronize(device)
    started = time.perf_counter()
    made = list(zip(attention_maps(*asked), shuffled_maps(*asked), strict=True))
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cells_per_second": len(made) / seconds,
        "peak_gpu_gib": peak_gpu_gib(device),
    }


WAYS = {"annotate": annotation, "attention": maps}


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(["2B", "27B", "tiny"]), default="2B", show_default=True)
@click.option("--cells", default=128, show_default=True)
@click.option("--ways", default=";".join(WAYS), help="Which to measure, with semicolons between.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--folder", type=Path, hidden=True, help="The model.")
@click.option("--one", hidden=True)
def main(
    shape: str, cells: int, ways: str, device: str, folder: Path | None, one: str | None
) -> None:
    """Measure each way in a process of its own."""
    if one and folder:
        report_way(lambda: WAYS[one](folder, cells, device))
        return
    if gpu_missing(device):
        print("no GPU here: not measured")
        return
    found: dict = {"shape": shape, "cells": cells, "ways": {}}
    with random_model(shape) as model:
        arguments = ("--device", device, "--cells", cells, "--folder", model)
        for way, made in run_ways(__file__, ways.split(";"), *arguments):
            found["ways"][way] = made
            print(way, made, flush=True)
            save(f"gpu_scores_{shape}", found)


if __name__ == "__main__":
    main()
