"""Generation on a GPU: Gemma-2 shapes with random weights, prompts of 1,000 tokens, 200 new ones.

Prompts/s, new tokens/s, and the share of the GPU's memory bandwidth: what a step must read (the
weights once, and each row's keys and values) in the time of the step, over what a plain copy
reaches in the same run. For genes only, free, in plain steps, and the usual way (see
bench_generation.py). On a CPU (--device cpu --shape tiny) it is only rehearsed.

python benchmarks/bench_gpu_generation.py [--shape 2B|27B] [--prompts 512] [--ways ...]
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from measure import peak_gpu_gib, report_one, run_one, save, synchronize
from models import SHAPES, demo_records, random_model

WAYS = {
    "genes only": {"genes_only": True},
    "free": {},
    "free, plain steps": {"captured": False},
    "nf4, genes only": {"genes_only": True, "quantization": "nf4"},
    "usual": {},
}
USUAL_BATCH, PROMPT, NEW = 16, 1000, 200


def copy_bandwidth(device: str) -> float:
    """Bytes a second that a large copy reads and writes on this GPU (a small one on a CPU)."""
    size = 2**20 if device == "cpu" else 2**30
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    for _ in range(3):
        target.copy_(source)
    synchronize(device)
    started = time.perf_counter()
    for _ in range(20):
        target.copy_(source)
    synchronize(device)
    return 20 * 2 * source.numel() / (time.perf_counter() - started)


def prompts_of(n_prompts: int) -> list[np.ndarray]:
    """Token ids, of the demo's vocabulary."""
    random = np.random.default_rng(0)
    return [random.integers(300, 1300, PROMPT).astype(np.int32) for _ in range(n_prompts)]


def ours(
    directory: Path,
    prompts: list[np.ndarray],
    device: str,
    genes_only: bool = False,
    captured: bool = True,
    **options: str,
) -> dict:
    """Generate as PERTURB does; the answers' end is forbidden, so that all have 200 tokens."""
    from c2sflow.generation import captured_step
    from c2sflow.generation.decoding import Decoding, generate_tokens
    from c2sflow.generation.logits import GeneTrie, gene_tokens
    from c2sflow.model.loading import load_model, load_tokenizer

    if not captured:
        captured_step.CAPTURES.clear()
    tokenizer = load_tokenizer(directory)
    model = load_model(directory, head=True, device=device, **options)
    trie = None
    if genes_only:
        genes = {gene for record in demo_records(700) for gene in record["cell_sentence"].split()}
        paths = list(gene_tokens(tokenizer, sorted(genes)).values())
        trie = GeneTrie(paths, [1], model.device)
    decoding = Decoding(0, [1 if genes_only else -1], NEW, trie=trie)
    synchronize(device)
    started = time.perf_counter()
    _, stats = generate_tokens(model, prompts, decoding, progress=False)
    synchronize(device)
    return {
        "seconds": time.perf_counter() - started,
        "new_tokens": stats.n_new_tokens,
        "steps": stats.n_steps,
        "captured": stats.captured,
        "max_batch_tokens": stats.max_batch_tokens,
        "peak_gpu_gib": peak_gpu_gib(device),
    }


def usual(directory: Path, prompts: list[np.ndarray], device: str) -> dict:
    """Generate as a plain script does."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, device_map=device).eval()
    synchronize(device)
    started, new, steps = time.perf_counter(), 0, 0
    for start in range(0, len(prompts), USUAL_BATCH):
        ids = torch.from_numpy(np.stack(prompts[start : start + USUAL_BATCH])).long().to(device)
        with torch.no_grad():
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False,
                min_new_tokens=NEW, max_new_tokens=NEW,
            )  # fmt: skip
        new += made[:, PROMPT:].numel()
        steps += NEW
    return {
        "seconds": time.perf_counter() - started,
        "new_tokens": new,
        "steps": steps,
        "peak_gpu_gib": peak_gpu_gib(device),
    }


def bytes_read(shape: str, made: dict, weight_bytes: float = 2) -> float:
    """What all decoding steps must read at least: weights each step, each new token's past."""
    size = SHAPES[shape]
    width = size["head_dim"] * (size["num_attention_heads"] * 2 + size["num_key_value_heads"] * 2)
    weights = (
        size["num_hidden_layers"] * size["hidden_size"] * (width + 3 * size["intermediate_size"])
        + 256_000 * size["hidden_size"]
    )
    past = 2 * size["num_key_value_heads"] * size["head_dim"] * size["num_hidden_layers"] * 2
    return made["steps"] * weights * weight_bytes + made["new_tokens"] * (PROMPT + NEW / 2) * past


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(["2B", "27B", "tiny"]), default="2B", show_default=True)
@click.option("--prompts", default=512, show_default=True)
@click.option("--ways", default=";".join(WAYS), help="Which to measure, with semicolons between.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--one", nargs=2, type=str, hidden=True)
def main(shape: str, prompts: int, ways: str, device: str, one: tuple[str, str] | None) -> None:
    """Measure each way in a process of its own."""
    if device != "cpu" and not torch.cuda.is_available():
        print("no GPU here: not measured")
        return
    if one:
        way, directory = one[0], Path(one[1])
        run = usual if way == "usual" else ours
        report_one(lambda: run(directory, prompts_of(prompts), device, **WAYS[way]))
        return
    found: dict = {
        "shape": shape,
        "prompts": prompts,
        "copy_bytes_per_second": copy_bandwidth(device),
    }
    found["ways"] = {}
    with random_model(shape) as folder:
        for way in ways.split(";"):
            try:
                made = run_one(
                    __file__, "--device", device, "--prompts", prompts, "--one", way, folder
                )
            except SystemExit as failure:  # out of memory, or not installed: the others go on
                made = {"failed": str(failure).strip().splitlines()[-1]}
            else:
                made["prompts_per_second"] = prompts / made["seconds"]
                made["tokens_per_second"] = made["new_tokens"] / made["seconds"]
                read = bytes_read(shape, made, 0.5 if way.startswith("nf4") else 2)
                made["bandwidth_share"] = read / made["seconds"] / found["copy_bytes_per_second"]
            found["ways"][way] = made
            print(way, made, flush=True)
            save(f"gpu_generation_{shape}", found)


if __name__ == "__main__":
    main()
