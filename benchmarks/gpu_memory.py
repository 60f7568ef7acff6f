"""Memory of batches, and out of memory on purpose: a GPU that is given too little for them.

Cells are embedded as EMBED does, then in one batch of up to 262,144 tokens, or as many as the card
holds, then so that the first batch cannot fit: the budget is halved until it does. The embeddings
are compared with those of the first run, and peaks with the plan (c2sflow.model.memory_plan).

python benchmarks/gpu_memory.py [--shape 2B|27B] [--cells 256]
"""

from __future__ import annotations

import click
from gpu_agreement import compare_vectors
from measure import peak_gpu_gib, save
from models import SHAPES, long_records, random_model

SPARE_GIB = 1.0  # beside the weights, of the limited run
MOST = 2**18  # tokens of a batch that no card of today has to refuse, and the limited one must


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="2B", show_default=True)
@click.option("--cells", default=256, show_default=True)
@click.option("--device", default="cuda", show_default=True)
def main(shape: str, cells: int, device: str) -> None:
    """Embed three times; the results so far are always on disk."""
    import torch

    from c2sflow.model.embedding import embed_cells
    from c2sflow.model.loading import load_model, load_tokenizer
    from c2sflow.model.memory_plan import MemoryPlan
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT

    records = long_records(cells)
    found: dict = {"shape": shape, "cells": cells, "device": device}
    with random_model(shape) as folder:
        tokenizer = load_tokenizer(folder)
        model = load_model(folder, head=False, device=device)
        plan = MemoryPlan(model.config, model.dtype, head=False)
        found["planned_weights_gib"] = plan.weights() / 2**30
        found["weights_gib"] = model.get_memory_footprint() / 2**30

        def embed(name: str, asked: int | str) -> None:
            if device != "cpu":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            made = embed_cells(
                model, tokenizer, EMBEDDING_PROMPT, records, progress=False,
                max_batch_tokens=asked,
            )  # fmt: skip
            reference = vectors.setdefault("auto", made.vectors)
            budget = made.stats.max_batch_tokens
            found[name] = {
                "budget_tokens_asked": asked,
                "budget_tokens_at_the_end": budget,
                "peak_gpu_gib": peak_gpu_gib(device),
                "planned_gib": (plan.weights() + plan.working(budget)) / 2**30,
                **compare_vectors(made.vectors, reference),
            }
            print(name, found[name], flush=True)
            save("gpu_memory", found)

        vectors: dict = {}
        embed("auto", "auto")
        embed("largest", MOST)
        if device != "cpu":
            total = torch.cuda.get_device_properties(0).total_memory
            limit = model.get_memory_footprint() + SPARE_GIB * 2**30
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(limit / total)
            found["limit_gib"] = limit / 2**30
        embed("limited", MOST)


if __name__ == "__main__":
    main()
