"""Embedding on a GPU: Gemma-2 shapes with random weights, sentences of about 1,000 genes.

Tokens/s, share of the GPU's arithmetic (of what a plain bfloat16 product reaches in the same run)
and peak memory; for each attention, compiled layers, quantised weights and the usual way (see
bench_embedding.py). On a CPU (--device cpu --shape tiny) it is only rehearsed.

python benchmarks/bench_gpu.py [--shape 2B|27B] [--cells 256] [--ways "auto;usual"]
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
import torch
from measure import peak_gpu_gib, report_one, run_one, save, synchronize
from models import SHAPES, long_records, random_model

# How each way loads the model, and what it compiles: "auto" nothing here, for so few cells.
WAYS = {
    "auto": {},
    "compiled": {"compile": "on"},
    "fp8": {"quantization": "fp8"},
    "fp8, compiled": {"quantization": "fp8", "compile": "on"},
    "flex_attention": {"attention": "flex_attention"},
    "flash_attention_2": {"attention": "flash_attention_2"},
    "blockwise": {"attention": "blockwise"},
    "eager": {"attention": "eager"},
    "nf4": {"quantization": "nf4"},
    "int8": {"quantization": "int8"},
    "usual": {},
}
USUAL_BATCH = 16


def matmul_flops(device: str) -> float:
    """Operations a second of a large bfloat16 product on this GPU (of a small one on a CPU)."""
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
    directory: Path, records: list[dict], device: str, compile: str = "auto", **options: str
) -> dict:
    """Embed as EMBED does; the first, small run warms up and compiles."""
    from c2sflow.model.embedding import embed_cells
    from c2sflow.model.tasks import load
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT

    where = {"model": directory, "device": device, "compile": compile, **options}
    where["compile_cache"] = os.environ.get("C2SFLOW_COMPILE_CACHE")
    model, tokenizer = load(where, head=False)
    asked = {"compile": compile, "progress": False}
    warm = embed_cells(model, tokenizer, EMBEDDING_PROMPT, records[:96], **asked)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    stats = embed_cells(model, tokenizer, EMBEDDING_PROMPT, records, **asked).stats
    return {
        "attention": model.config._attn_implementation,
        "compiled": stats.compiled,
        "warm_up_seconds": warm.stats.seconds,
        "seconds": stats.seconds,
        "outside_forward": 1 - stats.seconds_model / stats.seconds,
        "tokens": stats.n_tokens,
        "padding": stats.padding_fraction,
        "max_batch_tokens": stats.max_batch_tokens,
        "peak_gpu_gib": peak_gpu_gib(device),
    }


def usual(directory: Path, records: list[dict], device: str) -> dict:
    """Embed as a plain script does."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from c2sflow.sentences.prompts import EMBEDDING_PROMPT, fill

    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(directory, device_map=device).eval()
    synchronize(device)
    started, tokens = time.perf_counter(), 0
    for start in range(0, len(records), USUAL_BATCH):
        prompts = [fill(EMBEDDING_PROMPT, cell) for cell in records[start : start + USUAL_BATCH]]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True).to(device)
        with torch.no_grad():
            hidden = model(**inputs, output_hidden_states=True).hidden_states[-1]
        mask = inputs["attention_mask"].unsqueeze(-1)
        ((hidden * mask).sum(1) / mask.sum(1)).float().cpu()
        tokens += int(mask.sum())
    return {
        "seconds": time.perf_counter() - started,
        "tokens": tokens,
        "peak_gpu_gib": peak_gpu_gib(device),
    }


def lengths_of(records: list[dict]) -> list[int]:
    """Tokens of each prompt, which the demo's tokenizer spends about one a gene on."""
    return [record["n_genes"] + 48 for record in records]


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(["2B", "27B", "tiny"]), default="2B", show_default=True)
@click.option("--cells", default=256, show_default=True)
@click.option("--ways", default=";".join(WAYS), help="Which to measure, with semicolons between.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--one", nargs=2, type=str, hidden=True)
def main(shape: str, cells: int, ways: str, device: str, one: tuple[str, str] | None) -> None:
    """Measure each way in a process of its own."""
    if device != "cpu" and not torch.cuda.is_available():
        print("no GPU here: not measured")
        return
    records = long_records(cells)
    if one:
        way, directory = one[0], Path(one[1])
        run = usual if way == "usual" else embed
        report_one(lambda: run(directory, records, device, **WAYS[way]))
        return
    rate = matmul_flops(device)
    found: dict = {"shape": shape, "cells": cells, "matmul_flops": rate, "ways": {}}
    work = flops(shape, lengths_of(records))
    with random_model(shape) as folder:
        for way in ways.split(";"):
            try:
                made = run_one(__file__, "--device", device, "--cells", cells, "--one", way, folder)
            except SystemExit as failure:  # out of memory, or not installed: the others go on
                made = {"failed": str(failure).strip().splitlines()[-1]}
            else:
                made["tokens_per_second"] = made["tokens"] / made["seconds"]
                made["utilisation"] = work / made["seconds"] / rate
            found["ways"][way] = made
            print(way, made, flush=True)
            save(f"gpu_{shape}", found)


if __name__ == "__main__":
    main()
