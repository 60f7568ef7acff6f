#!/usr/bin/env python3
"""Embedding against the usual way: the same model and cells, each in a process of its own.

The usual way is what a plain script does: the causal language model with its head, all hidden
states, 16 cells a batch in input order, padded to the longest, mean over real tokens. Both run in
float32 with eager attention, twice in turn; the ratios are of the medians.

python benchmarks/bench_embedding.py [--cells 700] [--model demo] [--output FILE.json]
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bin"))
WAYS = ("usual", "c2sflow")
USUAL_BATCH = 16


def records(n_cells: int) -> list[dict]:
    """Cells of the demo as prompts need them."""
    from c2sflow.demo import demo_samples
    from c2sflow.sentences import cell_sentences, gene_words

    made = []
    for adata in demo_samples().values():
        words = gene_words(adata.var_names)
        for text, values in cell_sentences(adata.X, adata.obs_names, words):
            made.append({"cell_sentence": text, "n_genes": values.size, "organism": "human"})
    return made[:n_cells]


def big_model(directory: Path) -> None:
    """A Gemma-2 with random weights, 8 layers of 768, and the vocabulary of the published ones."""
    import torch
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "assets" / "demo_model")
    config = Gemma2Config(
        vocab_size=256_000, hidden_size=768, intermediate_size=3072, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=4, head_dim=96, query_pre_attn_scalar=96,
    )  # fmt: skip
    torch.manual_seed(0)
    Gemma2ForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def usual(directory: Path, cells: list[dict]):
    """Embeddings as a plain script makes them."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from c2sflow.prompts import EMBEDDING_PROMPT, fill

    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    started, vectors = time.perf_counter(), []
    for start in range(0, len(cells), USUAL_BATCH):
        prompts = [fill(EMBEDDING_PROMPT, cell) for cell in cells[start : start + USUAL_BATCH]]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.no_grad():
            hidden = model(**inputs, output_hidden_states=True).hidden_states[-1]
        mask = inputs["attention_mask"].unsqueeze(-1)
        vectors.append(((hidden * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(vectors), time.perf_counter() - started


def ours(directory: Path, cells: list[dict]):
    """Embeddings as EMBED makes them."""
    from c2sflow.embedding import embed_tokens
    from c2sflow.models import load_model, load_tokenizer
    from c2sflow.prompts import EMBEDDING_PROMPT
    from c2sflow.tokenization import tokenize_prompts

    tokenizer = load_tokenizer(directory)
    model = load_model(directory, head=False, device="cpu", dtype="float32", attention="eager")
    started = time.perf_counter()
    prompts = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, cells, 8192)
    vectors, _ = embed_tokens(model, prompts.input_ids, tokenizer.pad_token_id, progress=False)
    return vectors, time.perf_counter() - started


def measure(way: str, directory: Path, n_cells: int) -> dict:
    """Run one way in a process of its own."""
    command = [sys.executable, __file__, "--one", way, "--model", directory, "--cells", n_cells]
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return json.loads(done.stdout)


def run_one(way: str, directory: Path, n_cells: int) -> None:
    """Print the figures of one way as JSON."""
    cells = records(n_cells)
    before = resource.getrusage(resource.RUSAGE_SELF)
    vectors, seconds = (usual if way == "usual" else ours)(directory, cells)
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                "peak_mib": after.ru_maxrss / 1024,
                "checksum": float(abs(vectors).sum()),
            }
        )
    )


@click.command(help=__doc__)
@click.option("--cells", default=700, show_default=True)
@click.option("--model", default="demo", show_default=True, help="demo, big, or a directory.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="JSON file for the figures.")
@click.option("--one", type=click.Choice(WAYS), hidden=True)
def main(cells: int, model: str, rounds: int, output: Path | None, one: str | None) -> None:
    """Measure both ways in turn and print their ratios."""
    import tempfile

    if one:
        run_one(one, Path(model), cells)
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = ROOT / "assets" / "demo_model" if model == "demo" else Path(model)
        if model == "big":
            directory = Path(folder)
            big_model(directory)
        runs = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                runs[way].append(measure(way, directory, cells))
    middle = {
        way: {name: median(run[name] for run in made) for name in made[0]}
        for way, made in runs.items()
    }
    ratios = {name: middle["usual"][name] / middle["c2sflow"][name] for name in middle["usual"]}
    figures = {"model": model, "cells": cells, "rounds": rounds, **middle, "ratios": ratios}
    figures["machine"] = f"{platform.machine()}, {platform.python_implementation()}"
    for way in WAYS:
        print(f"{way:8} " + "  ".join(f"{name} {value:.1f}" for name, value in middle[way].items()))
    print("ratio    " + "  ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    if output:
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
