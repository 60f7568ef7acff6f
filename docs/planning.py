#!/usr/bin/env python3
"""Fill the tables of docs/planning.md: GPU memory, time and disk, from benchmarks/results.

python docs/planning.py        (part of make docs)
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bin"), str(ROOT / "benchmarks")]
GIB, GB = 2**30, 10**9
# US dollars an hour of one card: on-demand list prices of AWS in us-east-1, of a public table of
# 2026-11-09. That of an L4 was not found.
PRICES = {"A100 (80 GB)": 3.43, "H100 (80 GB, SXM)": 6.88}
GENES, TOKENS_PER_GENE, PROMPT_TOKENS = 1000, 3.4, 60  # of a cell; tokens as Gemma-2's tokenizer
SHARD_GENES = 2_000_000  # as sentences/shards.py divides
CELLS = (10_000, 100_000, 1_000_000)
ANSWER_GENES, ROWS = 200, 256  # what --max_answer_genes is by default
CARD_SIZES = (8, 12, 16, 24, 40, 48, 80, 141)  # GB that cards are sold with
QUANTISED = ("int8", "nf4")


@cache
def memory_plan(shape: str, dtype: str):
    """The plan by which a run decides whether a model fits (c2sflow.model.memory_plan)."""
    import torch
    from models import SHAPES
    from transformers import Gemma2Config

    from c2sflow.model.memory_plan import MemoryPlan

    config = Gemma2Config(vocab_size=256_000, **SHAPES[shape])
    return MemoryPlan(config, getattr(torch, dtype), head=True)


@dataclass(frozen=True)
class Model:
    """The shape of a model, one of benchmarks/models.py; weights in billions."""

    shape: str
    layers: int
    hidden: int
    attention_width: int
    weights: float
    vocabulary: int = 256_000

    @property
    def embedding(self) -> float:
        """Weights of the vocabulary, which are neither multiplied nor quantised."""
        return self.vocabulary * self.hidden / 1e9

    def gib(self, dtype: str) -> float:
        """Memory of the weights."""
        if dtype in QUANTISED:
            return memory_plan(self.shape, "bfloat16").weights(dtype) / GIB
        return memory_plan(self.shape, dtype).weights() / GIB

    def needed(self, dtype: str) -> float:
        """GiB of the weights and of the least work."""
        return self.gib(dtype) + memory_plan(self.shape, "bfloat16").working() / GIB

    def flops(self, tokens: float) -> float:
        """Of the forward pass of one prompt: its matrices, and attention to what is before."""
        matrices = 2 * (self.weights - self.embedding) * 1e9 * tokens
        return matrices + 2 * self.layers * self.attention_width * tokens**2


@dataclass(frozen=True)
class Card:
    """What its maker publishes: dense bfloat16 TFLOP/s, TB/s of memory."""

    tflops: float
    bandwidth: float


MODELS = {
    "Gemma-2-2B": Model("2B", 26, 2304, 8 * 256, 2.614),
    "Gemma-2-27B": Model("27B", 46, 4608, 32 * 128, 27.227),
}
MEASURED = Card(989, 4.8)  # H200
CARDS = {
    "L4 (24 GB)": Card(121, 0.3),
    "A100 (80 GB)": Card(312, 2.04),
    "H100 (80 GB, SXM)": Card(989, 3.35),
}


def results(name: str) -> dict:
    """benchmarks/results/<name>.json."""
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))


def cell_tokens(genes: int) -> float:
    """Tokens of the prompt of a cell."""
    return TOKENS_PER_GENE * genes + PROMPT_TOKENS


def embedding_rate(card: Card, dtype: str = "bfloat16") -> float:
    """FLOP/s of EMBED: the rate measured on the H200, by the ratio of published TFLOP/s."""
    run, first = results("gpu_kernels")["embedding"], results("gpu_first_run")
    per_token = (
        MODELS["Gemma-2-2B"].flops(run["tokens"] / run["cells"]) / run["tokens"] * run["cells"]
    )
    by_dtype = first["embedding_tokens_per_second"]
    slower = by_dtype["nf4"] / by_dtype["bfloat16"] if dtype == "nf4" else 1
    rate = run["second run"]["kernels"]["tokens_per_second"]
    return rate * per_token * slower * card.tflops / MEASURED.tflops


def cell_seconds(model: Model, card: Card, genes: int, dtype: str = "bfloat16") -> float:
    """Of one cell's embedding, without what a task costs."""
    return model.flops(cell_tokens(genes)) / embedding_rate(card, dtype)


def task_seconds() -> float:
    """What a GPU task costs besides its cells: Python, the model, compiling. Of the demo's."""
    return results("gpu_steps")["steps"]["embed"]["ours"]["seconds"]


def embedding_seconds(
    n_cells: int, model: Model, card: Card, genes: int, dtype: str = "bfloat16"
) -> float:
    """Of all cells on one card, in shards of the size `auto`."""
    shards = ceil(n_cells * (genes + 20) / SHARD_GENES)
    return n_cells * cell_seconds(model, card, genes, dtype) + shards * task_seconds()


def prediction_seconds(card: Card) -> float:
    """Of one predicted cell of the 2B model, in batches of `ROWS`."""
    run = results("gpu_kernels")["decoding"]
    prefill = run["prompt_tokens"] / run["prefill_tokens_per_second"]
    answer = TOKENS_PER_GENE * ANSWER_GENES
    decode = answer * run["milliseconds_per_step"][str(ROWS)] / 1000 / ROWS
    by_flops, by_memory = MEASURED.tflops / card.tflops, MEASURED.bandwidth / card.bandwidth
    return prefill * by_flops + decode * by_memory


def smallest_card(needed: float) -> str:
    """The smallest of whose memory 90 % are enough."""
    fits = [size for size in CARD_SIZES if 0.9 * size >= needed]
    return f"{fits[0]} GB" if fits else "several"


def duration(seconds: float) -> str:
    """Rounded to two digits: these are no measurements."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            amount = seconds / length
            return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"
    return f"{seconds:.0f} s"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def memory_table() -> list[str]:
    """Weights and smallest card of each model in each format."""
    dtypes = {"float32": "float32", "bfloat16": "bfloat16"}
    dtypes |= {name: f"`--quantization {name}`" for name in QUANTISED}
    rows = [
        [
            name,
            *(f"{model.gib(dtype):.1f} ({smallest_card(model.needed(dtype))})" for dtype in dtypes),
        ]
        for name, model in MODELS.items()
    ]
    return table(["GiB of weights (smallest card)", *dtypes.values()], rows)


def dtype_on(model: Model, card_name: str) -> str:
    """bfloat16 if that fits on the card of this name, else nf4."""
    size = int(card_name.split("(")[1].split()[0])
    return "bfloat16" if 0.9 * size >= model.needed("bfloat16") else "nf4"


def embedding_table(genes: int) -> list[str]:
    """GPU time by number of cells."""
    rows = []
    for name, model in MODELS.items():
        for n_cells in CELLS:
            row = [name, f"{n_cells:,}"]
            for card_name, card in CARDS.items():
                dtype = dtype_on(model, card_name)
                seconds = embedding_seconds(n_cells, model, card, genes, dtype)
                row.append(duration(seconds) + (" (nf4)" if dtype == "nf4" else ""))
            rows.append(row)
    return table(["model", "cells", *CARDS], rows)


def million_table() -> list[str]:
    """Hours and cost of a million cells, by model and genes a cell."""
    rows = []
    for name, model in MODELS.items():
        for genes in (200, GENES):
            row = [f"{name}, {genes:,} genes"]
            for card_name, card in CARDS.items():
                dtype = dtype_on(model, card_name)
                hours = embedding_seconds(10**6, model, card, genes, dtype) / 3600
                cell = f"{hours:,.0f} h"
                if price := PRICES.get(card_name):
                    cell += f", ${float(f'{hours * price:.2g}'):,.0f}"
                row.append(cell + (" (nf4)" if dtype == "nf4" else ""))
            rows.append(row)
    head = [f"{name}, ${PRICES[name]:.2f}/h" if name in PRICES else name for name in CARDS]
    return table(["a million cells", *head], rows)


def shard_table() -> list[str]:
    """Time of one GPU task of the size `auto`."""
    rows = []
    for name, model in MODELS.items():
        n_cells = SHARD_GENES // (GENES + 20)
        row = [name]
        for card_name, card in CARDS.items():
            dtype = dtype_on(model, card_name)
            row.append(duration(embedding_seconds(n_cells, model, card, GENES, dtype)))
        rows.append(row)
    return table(["one shard", *CARDS], rows)


def prediction_table() -> list[str]:
    """Time of predicted cells, where the batch that was measured fits."""
    rows = []
    for number in (1_000, 10_000, 100_000):
        times = [
            "not measured" if name.startswith("L4") else duration(number * prediction_seconds(card))
            for name, card in CARDS.items()
        ]
        rows.append([f"{number:,}", *times])
    return table(["predicted cells (2B)", *CARDS], rows)


def host_table() -> list[str]:
    """CPU time and memory of the data side."""
    cells = results("scale")["cells"]
    steps = {"QC": "qc", "SENTENCES": "sentences", "MERGE": "merge"}
    rows = []
    for n_cells in ("50000", "200000", "1000000"):
        row = [f"{int(n_cells):,}"]
        for key in steps.values():
            figures = cells[n_cells][key]
            row.append(f"{duration(figures['cpu_seconds'])}, {figures['peak_mib']:,.0f} MiB")
        rows.append(row)
    return table(["cells", *steps], rows)


def disk_bytes(model: Model, n_cells: int) -> dict[str, float]:
    """Of the work folder and of the results, from those of 20,000 cells of 500 genes."""
    (measured,) = results("disk")["cells"].items()
    per_cell = {name: size / int(measured[0]) for name, size in measured[1]["bytes"].items()}
    vector = 4 * model.hidden
    more_genes = GENES / 500
    made = {
        "atlas.h5ad": per_cell["atlas.h5ad"] * more_genes,
        "shards": per_cell["shards"] * more_genes,
        "embeddings": vector,
        "c2s.h5ad": (per_cell["c2s.h5ad"] - per_cell["embeddings"]) * more_genes + vector,
    }
    return {
        "work": n_cells * sum(made.values()),
        "results": n_cells * made["c2s.h5ad"],
        "weights": 2e9 * model.weights,
    }


def disk_table() -> list[str]:
    """Gigabytes by number of cells."""
    rows = []
    for name, model in MODELS.items():
        for n_cells in CELLS:
            made = disk_bytes(model, n_cells)
            sizes = (f"{size / GB:.1f} GB" for size in made.values())
            rows.append([name, f"{n_cells:,}", *sizes])
    return table(["model", "cells", "`-work-dir`", "`--outdir`", "`--model_cache`"], rows)


def basis_table() -> list[str]:
    """What all the others are computed from."""
    run, first = results("gpu_kernels"), results("gpu_first_run")
    embedding, decoding = run["embedding"]["second run"]["kernels"], run["decoding"]
    plain = results("gpu_2B")["ways"]["auto"]["peak_gpu_gib"]
    training = results("gpu_training_2B")["ways"]
    rows = [
        [
            "embedding",
            f"{embedding['tokens_per_second']:,} tokens/s; {plain:.1f} GiB with plain layers",
        ],
        [
            "embedding, nf4, plain layers",
            f"{first['embedding_tokens_per_second']['nf4']:,} tokens/s",
        ],
        [
            "reading the prompts of predictions, padded",
            f"{decoding['prefill_tokens_per_second']:,} tokens/s",
        ],
        [
            f"a token of each of {ROWS} answers",
            f"{decoding['milliseconds_per_step'][str(ROWS)]} ms",
        ],
        ["a GPU task besides its cells (bundled model)", f"{task_seconds():.0f} s"],
        *(
            [f"training, {name}", f"{made['tokens_per_second']:,.0f} tokens/s, "
             f"{made['peak_gpu_gib']:.1f} GiB"]
            for name, made in training.items()
        ),
    ]  # fmt: skip
    return table(["measured on one H200, shape of the 2B model", ""], rows)


TABLES = {
    "basis": basis_table,
    "memory": memory_table,
    "embedding": lambda: embedding_table(GENES),
    "embedding_200": lambda: embedding_table(200),
    "million": million_table,
    "shard": shard_table,
    "predictions": prediction_table,
    "host": host_table,
    "disk": disk_table,
}
PAGES = ("README.md", "docs/planning.md")


def filled(text: str) -> str:
    """A page with its tables, each between ``<!-- name -->`` and ``<!-- /name -->``, made anew."""

    def made(found: re.Match) -> str:
        lines = "\n".join(TABLES[found[1]]())
        return f"<!-- {found[1]} -->\n\n{lines}\n\n<!-- /{found[1]} -->"

    return re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", made, text, flags=re.DOTALL)


if __name__ == "__main__":
    for name in PAGES:
        path = ROOT / name
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
