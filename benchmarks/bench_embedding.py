"""Embedding against the usual way: the same model and cells, each in a process of its own.

The usual way is what a plain script does: the causal language model with its head, all hidden
states, 16 cells a batch in input order, padded to the longest, mean over real tokens, in the
number format of the checkpoint or in float32. Rounds alternate; ratios are of medians.

python benchmarks/bench_embedding.py [--model demo|big] [--cells N] [--rounds 2]
"""

from __future__ import annotations

import time
from pathlib import Path

import click
from measure import report_one, save
from models import alternate, demo_records

WAYS = ("usual", "usual, float32", "c2sflow")
USUAL_BATCH = 16


def usual(directory: Path, cells: list[dict], dtype: str) -> dict:
    """Embeddings as a plain script makes them."""
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT, fill

    return usual_of_prompts(directory, [fill(EMBEDDING_PROMPT, cell) for cell in cells], dtype)


def usual_of_prompts(directory: Path, prompts: list[str], dtype: str) -> dict:
    """The same of any prompts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()
    started, cpu, total = time.perf_counter(), time.process_time(), 0.0
    for start in range(0, len(prompts), USUAL_BATCH):
        batch = prompts[start : start + USUAL_BATCH]
        inputs = tokenizer(batch, return_tensors="pt", padding=True)
        with torch.no_grad():
            hidden = model(**inputs, output_hidden_states=True).hidden_states[-1]
        mask = inputs["attention_mask"].unsqueeze(-1)
        total += float(((hidden * mask).sum(1) / mask.sum(1)).float().abs().sum())
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "checksum": total,
    }


def ours(directory: Path, cells: list[dict]) -> dict:
    """Embeddings as EMBED makes them."""
    from c2sflow.model.embedding import embed_cells
    from c2sflow.model.loading import load_model, load_tokenizer
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT

    tokenizer = load_tokenizer(directory)
    model = load_model(directory, head=False, device="cpu")
    started, cpu = time.perf_counter(), time.process_time()
    made = embed_cells(model, tokenizer, EMBEDDING_PROMPT, cells, progress=False)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "checksum": float(abs(made.vectors).sum()),
        "outside_forward": 1 - made.stats.seconds_model / made.stats.seconds,
        "padding": made.stats.padding_fraction,
    }


@click.command(help=__doc__)
@click.option("--model", type=click.Choice(["demo", "big"]), default="demo", show_default=True)
@click.option("--cells", type=int, help="By default 700 for demo, 48 for big.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--one", nargs=2, type=str, hidden=True)
def main(model: str, cells: int | None, rounds: int, one: tuple[str, str] | None) -> None:
    """Measure all ways in turn and print their ratios."""
    cells = cells or {"demo": 700, "big": 48}[model]
    if one:
        way, directory = one[0], Path(one[1])
        records = demo_records(cells)
        dtype = "float32" if way == "usual, float32" else "auto"
        report_one(
            lambda: (
                ours(directory, records) if way == "c2sflow" else usual(directory, records, dtype)
            )
        )
        return
    found = alternate(__file__, model, cells, WAYS, rounds)
    names = ("seconds", "cpu_seconds", "peak_mib")
    ratios = {
        way: {name: found[way][name] / found["c2sflow"][name] for name in names}
        for way in WAYS[:-1]
    }
    for way, ratio in ratios.items():
        print(f"{way} / c2sflow", {name: round(value, 2) for name, value in ratio.items()})
    save(f"embedding_{model}", {"cells": cells, "rounds": rounds, "ways": found, "ratios": ratios})


if __name__ == "__main__":
    main()
