"""Embedding on a GPU: Gemma-2 shapes with random weights, sentences of about 1,000 genes.

Tokens/s, share of the GPU's arithmetic (of what a plain bfloat16 product reaches in the same run)
and peak memory; as EMBED does ("auto"), with each attention, quantised weights, plain layers, and
the usual way (see bench_embedding.py), which the vectors are compared with. The first of two runs
is that of a task: it compiles kernels, or finds what an earlier way has compiled ("again"). On a
CPU (--device cpu --shape tiny) it is only rehearsed.

python benchmarks/bench_gpu.py [--shape 2B|27B] [--cells 256] [--ways "auto;usual"]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np
from measure import peak_gpu_gib, save, synchronize
from models import SHAPES, gpu_missing, long_records, random_model
from ways import keep_compiled, report_way, run_ways

# How each way loads the model and embeds.
WAYS = {
    "auto": {},
    "again": {},
    "usual": {},
    "plain layers": {},
    "flex_attention": {"attention": "flex_attention"},
    "blockwise": {"attention": "blockwise"},
    "eager": {"attention": "eager"},
    "flash_attention_2": {"attention": "flash_attention_2"},
    "fp8": {"quantization": "fp8"},
    "nf4": {"quantization": "nf4"},
    "int8": {"quantization": "int8"},
}
PLAIN = "plain layers"  # the way whose layers are transformers' own
REFERENCE = "auto"  # the way that the vectors of others are compared with
LIMIT = "limit"  # the way that measures the product's rate
USUAL_BATCH = 16


def matmul_flops(device: str) -> float:
    """Operations a second of a large bfloat16 product on this GPU (of a small one on a CPU)."""
    import torch

    width, times = (256, 2) if device == "cpu" else (8192, 50)
    one = torch.randn(width, width, dtype=torch.bfloat16, device=device)
    other = torch.randn_like(one)
    for _ in range(5):
        one @ other
    synchronize(device)
    started = time.perf_counter()
    for _ in range(times):
        one @ other
    synchronize(device)
    return times * 2 * width**3 / (time.perf_counter() - started)


def flops(shape: str, lengths: list[int]) -> float:
    """Operations of the backbone on prompts: its products, and causal attention."""
    size = SHAPES[shape]
    width = size["head_dim"] * (size["num_attention_heads"] * 2 + size["num_key_value_heads"] * 2)
    matrices = size["hidden_size"] * (width + 3 * size["intermediate_size"])
    tokens, squares = sum(lengths), sum(n * n for n in lengths)
    attention = 2 * squares * size["num_attention_heads"] * size["head_dim"]
    return size["num_hidden_layers"] * (2 * tokens * matrices + attention)


def embed(
    directory: Path, records: list[dict], device: str, kept: Path, way: str, **options: str
) -> dict:
    """Embed as EMBED does, twice: the first run is what a task waits for."""
    from c2sflow.model import embedding_engine
    from c2sflow.model.embedding import embed_cells
    from c2sflow.model.tasks import load
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT

    if way == PLAIN:
        embedding_engine.FUSES.clear()
    started = time.perf_counter()
    where = {"model": directory, "device": device, "compile_cache": kept / "compiled", **options}
    model, tokenizer = load(where, head=False)
    loaded = time.perf_counter() - started

    def run():
        return embed_cells(model, tokenizer, EMBEDDING_PROMPT, records, progress=False)

    first = run()
    reset_peak(device)
    made = run()
    stats = made.stats
    np.save(kept / f"{way}.npy", made.vectors)
    return {
        "attention": model.config._attn_implementation,
        "fused": stats.fused,
        "seconds_to_load": loaded,
        "first_seconds": first.stats.seconds,
        "seconds": stats.seconds,
        "outside_forward": 1 - stats.seconds_model / stats.seconds,
        "tokens": stats.n_tokens,
        "padding": stats.padding_fraction,
        "max_batch_tokens": stats.max_batch_tokens,
        "peak_gpu_gib": peak_gpu_gib(device),
        **against(kept / f"{REFERENCE}.npy", made.vectors),
    }


def against(reference: Path, vectors: np.ndarray) -> dict:
    """How close vectors are to those of the reference, where that was measured before."""
    from gpu_agreement import compare_vectors

    return compare_vectors(vectors, np.load(reference)) if reference.exists() else {}


def reset_peak(device: str) -> None:
    """Forget what memory was taken so far."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()


def usual(directory: Path, records: list[dict], device: str, kept: Path) -> dict:
    """Embed as a plain script does."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from c2sflow.sentences.prompts import EMBEDDING_PROMPT, fill

    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(directory, device_map=device).eval()
    synchronize(device)
    started, tokens, vectors = time.perf_counter(), 0, []
    for start in range(0, len(records), USUAL_BATCH):
        prompts = [fill(EMBEDDING_PROMPT, cell) for cell in records[start : start + USUAL_BATCH]]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True).to(device)
        with torch.no_grad():
            hidden = model(**inputs, output_hidden_states=True).hidden_states[-1]
        mask = inputs["attention_mask"].unsqueeze(-1)
        vectors.append(((hidden * mask).sum(1) / mask.sum(1)).float().cpu())
        tokens += int(mask.sum())
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "tokens": tokens,
        "peak_gpu_gib": peak_gpu_gib(device),
        **against(kept / f"{REFERENCE}.npy", torch.cat(vectors).numpy()),
    }


def lengths_of(records: list[dict]) -> list[int]:
    """Tokens of each prompt, which the demo's tokenizer spends about one a gene on."""
    return [record["n_genes"] + 48 for record in records]


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(["2B", "27B", "tiny"]), default="2B", show_default=True)
@click.option("--cells", default=256, show_default=True)
@click.option("--ways", default=";".join(WAYS), help="Which to measure, with semicolons between.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--folder", nargs=2, type=Path, hidden=True, help="The model; what ways leave.")
@click.option("--one", hidden=True)
def main(
    shape: str, cells: int, ways: str, device: str, folder: tuple[Path, Path] | None,
    one: str | None,
) -> None:  # fmt: skip
    """Measure each way in a process of its own."""
    if one and folder:
        report_way(lambda: measure_one(one, cells, device, *folder))
        return
    if gpu_missing(device):
        print("no GPU here: not measured")
        return
    found: dict = {"shape": shape, "cells": cells, "ways": {}}
    work = flops(shape, lengths_of(long_records(cells)))
    with random_model(shape) as model, tempfile.TemporaryDirectory() as kept:
        keep_compiled(f"{kept}/compiled")
        arguments = ("--device", device, "--cells", cells, "--folder", model, kept)
        for way, made in run_ways(__file__, [LIMIT, *ways.split(";")], *arguments):
            if way == LIMIT:
                found |= made
                continue
            if "failed" not in made:
                made["tokens_per_second"] = made["tokens"] / made["seconds"]
                if rate := found.get("matmul_flops"):
                    made["utilisation"] = work / made["seconds"] / rate
            found["ways"][way] = made
            print(way, made, flush=True)
            save(f"gpu_{shape}", found)


def measure_one(way: str, cells: int, device: str, model: Path, kept: Path) -> dict:
    """The figures of a way."""
    if way == LIMIT:
        return {"matmul_flops": matmul_flops(device)}
    records = long_records(cells)
    if way == "usual":
        return usual(model, records, device, kept)
    return embed(model, records, device, kept, way, **WAYS[way])


if __name__ == "__main__":
    main()
