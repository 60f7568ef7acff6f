"""Out of memory on purpose: a shard is embedded on a GPU that is given too little for its batches.

The first batch does not fit, the budget is halved until it does, and the embeddings are those of an
unlimited run. Then the largest batch that the budget allows without a limit.

python benchmarks/gpu_memory.py [--shape 2B|27B] [--cells 64]
"""

from __future__ import annotations

import click
import torch
from gpu_agreement import compare_vectors
from measure import peak_gpu_gib, save
from models import SHAPES, long_records, random_model

SPARE_GIB = 1.0  # beside the weights, of the limited run


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="2B", show_default=True)
@click.option("--cells", default=64, show_default=True)
@click.option("--device", default="cuda", show_default=True)
def main(shape: str, cells: int, device: str) -> None:
    """Embed twice: as a task does, and with a limit that its first batch exceeds."""
    from c2sflow.model.embedding import embed_cells
    from c2sflow.model.loading import load_model, load_tokenizer
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT

    records = long_records(cells)
    with random_model(shape) as folder:
        torch.cuda.empty_cache()
        tokenizer = load_tokenizer(folder)
        model = load_model(folder, head=False, device=device)

        def embed(max_batch_tokens: int | str) -> tuple:
            made = embed_cells(
                model, tokenizer, EMBEDDING_PROMPT, records, progress=False,
                max_batch_tokens=max_batch_tokens,
            )  # fmt: skip
            return made.vectors, made.stats

        vectors, stats = embed("auto")
        found = {
            "shape": shape, "cells": cells, "device": device,
            "budget_tokens": stats.max_batch_tokens, "peak_gpu_gib": peak_gpu_gib(device),
        }  # fmt: skip
        if device != "cpu":
            total = torch.cuda.get_device_properties(0).total_memory
            limit = model.get_memory_footprint() + SPARE_GIB * 2**30
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(limit / total)
            found["limit_gib"] = limit / 2**30
        limited, stats = embed(2**17)
        found |= {
            "budget_tokens_asked": 2**17,
            "budget_tokens_at_the_end": stats.max_batch_tokens,
            **compare_vectors(limited, vectors),
        }
        print(found, flush=True)
        save("gpu_memory", found)


if __name__ == "__main__":
    main()
