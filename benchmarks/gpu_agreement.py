"""The bundled model on a GPU against eager attention in float32 on the CPU.

Embeddings: relative difference and smallest cosine for each attention and number format.
Generation: share of answers that are the CPU's, and how far the log-likelihood of a token is from
the CPU's; with and without the gene trie. What fails is recorded, and the rest is measured.

python benchmarks/gpu_agreement.py [--device cuda|cpu] [--cells 300]
"""

from __future__ import annotations

import time

import click
import numpy as np
from measure import save
from models import DEMO, demo_records, long_records

DTYPES = ("bfloat16", "float32", "float16")
ATTENTIONS = ("auto", "blockwise", "eager", "flash_attention_2")
QUANTIZED = ("fp8", "nf4", "int8")  # beside bfloat16, with the attention of `auto`
GENERATED, NEW_TOKENS = 48, 60


def embed(
    records: list[dict], device: str, dtype: str, attention: str, quantization: str = "none"
) -> tuple[str, np.ndarray]:
    """The attention that is used, and float32 (n_cells, hidden_size)."""
    from c2sflow.model.embedding import embed_cells
    from c2sflow.model.loading import load_model, load_tokenizer
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT

    model = load_model(
        DEMO, head=False, device=device, dtype=dtype, attention=attention,
        quantization=quantization,
    )  # fmt: skip
    tokenizer = load_tokenizer(DEMO)
    made = embed_cells(model, tokenizer, EMBEDDING_PROMPT, records, progress=False)
    return model.config._attn_implementation, made.vectors


def compare_vectors(vectors: np.ndarray, reference: np.ndarray) -> dict:
    """Relative difference (Frobenius norm) and the smallest cosine of a cell."""
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    return {
        "relative_difference": np.linalg.norm(vectors - reference) / np.linalg.norm(reference),
        "smallest_cosine": float(((vectors * reference).sum(axis=1) / norms).min()),
    }


def generate(n_cells: int, device: str, dtype: str, genes_only: bool) -> list:
    """Greedy answers to the embedding prompt of the demo's cells."""
    from c2sflow.generation.decoding import Decoding, end_tokens, generate_tokens
    from c2sflow.generation.gene_trie import GeneTrie
    from c2sflow.generation.logits import gene_tokens
    from c2sflow.model.loading import load_model, load_tokenizer
    from c2sflow.sentences.prompts import EMBEDDING_PROMPT, fill

    tokenizer = load_tokenizer(DEMO)
    model = load_model(DEMO, head=True, device=device, dtype=dtype)
    records = demo_records(n_cells)
    prompts = [
        np.array(tokenizer(fill(EMBEDDING_PROMPT, record))["input_ids"], dtype=np.int32)
        for record in records
    ]
    ends = end_tokens(model, tokenizer.eos_token_id)
    trie = None
    if genes_only:
        genes = {gene for record in records for gene in record["cell_sentence"].split()}
        paths = list(gene_tokens(tokenizer, sorted(genes)).values())
        trie = GeneTrie(paths, ends, model.device)
    decoding = Decoding(tokenizer.pad_token_id, ends, NEW_TOKENS, trie=trie)
    return generate_tokens(model, prompts, decoding, progress=False)[0]


def compare_answers(answers: list, reference: list) -> dict:
    """Share of equal answers, and the mean difference of the log-likelihood of a token."""
    pairs = list(zip(answers, reference, strict=True))
    far = [abs(a.log_likelihood - b.log_likelihood) / max(1, len(b.token_ids)) for a, b in pairs]
    same = [list(a.token_ids) == list(b.token_ids) for a, b in pairs]
    return {"same_answers": float(np.mean(same)), "log_likelihood_difference": float(np.mean(far))}


@click.command(help=__doc__)
@click.option("--device", default="cuda", show_default=True)
@click.option("--cells", default=300, show_default=True)
@click.option(
    "--smallest", is_flag=True, help="float32 only, the automatic attention: a rehearsal."
)
def main(device: str, cells: int, smallest: bool) -> None:
    """Measure one way after the other; the results so far are always on disk."""
    ways = [(dtype, name, "none") for dtype in DTYPES for name in ATTENTIONS]
    ways += [("bfloat16", "auto", name) for name in QUANTIZED]
    if smallest:
        ways = [("float32", "auto", "none")]
    found: dict = {"device": device, "cells": cells, "embedding": {}, "generation": {}}

    def record(group: str, name: str, work) -> None:
        started = time.perf_counter()
        try:
            made = work()
        except Exception as error:  # another way may work
            made = {"failed": f"{type(error).__name__}: {error}"[:500]}
        found[group][name] = {**made, "seconds": time.perf_counter() - started}
        print(group, name, found[group][name], flush=True)
        save("gpu_agreement", found)

    records = demo_records(cells) + long_records(max(2, cells // 8))
    _, reference = embed(records, "cpu", "float32", "eager")
    for way in ways:

        def embedding(way: tuple[str, str, str] = way) -> dict:
            used, vectors = embed(records, device, *way)
            return {"attention": used, **compare_vectors(vectors, reference)}

        record("embedding", ", ".join(name for name in way if name != "none"), embedding)
    n_answers = min(cells, GENERATED)
    for genes_only in (True, False):
        answers = generate(n_answers, "cpu", "float32", genes_only)
        for dtype in ("float32",) if smallest else ("float32", "bfloat16"):

            def generation(
                dtype: str = dtype, genes_only: bool = genes_only, answers: list = answers
            ) -> dict:
                return compare_answers(generate(n_answers, device, dtype, genes_only), answers)

            record("generation", f"{dtype}, {'genes only' if genes_only else 'free'}", generation)


if __name__ == "__main__":
    main()
