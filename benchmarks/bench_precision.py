"""What a smaller number format costs (CPU): cosines, neighbours kept, memory, time.

python benchmarks/bench_precision.py [--cells 200]
"""

from __future__ import annotations

import click
import numpy as np
from measure import save
from models import DEMO, demo_records

FORMATS = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
    "int8": {"quantization": "int8"},
    "nf4": {"quantization": "nf4"},
    "fp8": {"dtype": "bfloat16"},  # on the CPU, which makes the GPU's product slowly
}
NEIGHBOURS = 10


def embed(name: str, records: list[dict]) -> tuple[np.ndarray, dict]:
    """Embeddings and figures of one format."""
    from c2sflow.model.embedding import embed_cells
    from c2sflow.model.fp8 import use_fp8
    from c2sflow.model.loading import load_model, load_tokenizer
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT

    model = load_model(DEMO, head=False, device="cpu", **FORMATS[name])
    if name == "fp8":
        use_fp8(model)
    made = embed_cells(model, load_tokenizer(DEMO), EMBEDDING_PROMPT, records, progress=False)
    weights = model.get_memory_footprint() / 2**20
    return made.vectors, {"seconds": made.stats.seconds, "weights_mib": weights}


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of each cell's two vectors."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / norms


def neighbours(vectors: np.ndarray) -> np.ndarray:
    """Indices of the nearest cells of each cell, by cosine."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=NEIGHBOURS + 1, metric="cosine").fit(vectors)
    return index.kneighbors(return_distance=False)[:, 1:]


@click.command(help=__doc__)
@click.option("--cells", default=200, show_default=True)
def main(cells: int) -> None:
    """Embed the same cells in every format."""
    records = demo_records(cells)
    exact, _ = embed("float32", records)
    half, _ = embed("bfloat16", records)
    near = neighbours(exact)
    found = {}
    for name in FORMATS:
        vectors, figures = embed(name, records)
        cosine = cosines(vectors, exact)
        kept = [len(set(a) & set(b)) for a, b in zip(near, neighbours(vectors), strict=True)]
        found[name] = figures | {
            "cosine_mean": cosine.mean(),
            "cosine_min": cosine.min(),
            "cosine_to_bfloat16_mean": cosines(vectors, half).mean(),
            "cosine_to_bfloat16_min": cosines(vectors, half).min(),
            "neighbours_kept": np.mean(kept) / NEIGHBOURS,
        }
        print(f"{name:9}", {key: round(float(v), 5) for key, v in found[name].items()}, flush=True)
    save("precision", {"cells": cells, "formats": found})


if __name__ == "__main__":
    main()
