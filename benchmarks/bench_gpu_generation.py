"""Generation on a GPU: Gemma-2 shapes with random weights, prompts of 1,000 tokens, 200 new ones.

Prompts/s, new tokens/s, and the share of the GPU's memory bandwidth: what a step must read (the
weights once, and each row's keys and values) in the time of the step, over what a plain copy
reaches in the same run. For genes only, free, in plain steps, and the usual way (see
bench_generation.py). The same of a step of 64 and of 256 rows and of its attention alone, and how
long a new process takes for 8 tokens each of 64 prompts with nothing compiled yet and with what the
first one has kept. On a CPU (--device cpu --shape tiny) it is only rehearsed.

python benchmarks/bench_gpu_generation.py [--shape 2B|27B] [--prompts 512] [--ways ...]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from measure import peak_gpu_gib, save, synchronize
from models import SHAPES, demo_records, gpu_missing, random_model
from ways import keep_compiled, report_way, run_ways

WAYS = {
    "genes only": {"genes_only": True},
    "free": {},
    "free, plain steps": {"captured": False},
    "nf4, genes only": {"genes_only": True, "quantization": "nf4"},
    "usual": {},
}
START = "start, warm"  # the way of a process that finds compiled what the first one needed
LIMIT = "limit"  # the way that measures the copy
USUAL_BATCH, PROMPT, NEW = 16, 1000, 200
FEW, MORE = 8, 72  # new tokens of the runs between which a step's time is the difference
ROWS = (64, 256)
VOCABULARY = 256_000


def copy_bandwidth(device: str) -> float:
    """Bytes a second that a large copy reads and writes on this GPU (a small one on a CPU)."""
    import torch

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
    start_only: bool = False,
    **options: str,
) -> dict:
    """Generate as PERTURB does; the answers' end is forbidden, so that all have 200 tokens."""
    from c2sflow.generation import captured_step
    from c2sflow.generation.decoding import Decoding, GenerationStats, generate_tokens
    from c2sflow.generation.gene_trie import GeneTrie
    from c2sflow.generation.logits import gene_tokens
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

    def generate(n_rows: int, new: int) -> tuple[float, GenerationStats]:
        decoding = Decoding(0, [1 if genes_only else -1], new, trie=trie)
        synchronize(device)
        started = time.perf_counter()
        _, stats = generate_tokens(model, prompts[:n_rows], decoding, progress=False)
        synchronize(device)
        return time.perf_counter() - started, stats

    start, _ = generate(ROWS[0], FEW)
    if start_only:
        return {"start_seconds": start}
    seconds, stats = generate(len(prompts), NEW)
    return {
        "seconds": seconds,
        "attention_seconds": attention_alone(model, rows_of(len(prompts))),
        "start_seconds": start,
        "step_seconds": step_seconds(generate, len(prompts)),
        "prefill_tokens_per_second": prefill_rate(generate, len(prompts)),
        "new_tokens": stats.n_new_tokens,
        "steps": stats.n_steps,
        "captured": stats.captured,
        "head_tokens": trie.n_valid if trie else VOCABULARY,
        "max_batch_tokens": stats.max_batch_tokens,
        "peak_gpu_gib": peak_gpu_gib(device),
    }


def step_seconds(
    generate: Callable[[int, int], tuple[float, object]], n_prompts: int
) -> dict[int, float]:
    """Seconds of a step, by its rows: without prefill and capture, which both runs have."""
    return {
        n_rows: (generate(n_rows, MORE)[0] - generate(n_rows, FEW)[0]) / (MORE - FEW)
        for n_rows in rows_of(n_prompts)
    }


def rows_of(n_prompts: int) -> list[int]:
    """Rows of the steps that are measured."""
    return sorted({min(rows, n_prompts) for rows in ROWS})


def attention_alone(model, sizes: list[int]) -> dict[int, float]:
    """`attention_seconds` by rows; none where it fails, which must not cost the other figures."""
    try:
        return {n_rows: attention_seconds(model, n_rows) for n_rows in sizes}
    except Exception as error:  # whatever a kernel can raise
        print(f"attention alone: {type(error).__name__}: {error}", file=sys.stderr)
        return {}


def attention_seconds(model, n_rows: int) -> float:
    """Seconds of the attention of one layer's step, each row at its prompt's end."""
    import torch

    from c2sflow.generation.decode_attention import Seen, decode_attention

    config, where = model.config, {"dtype": model.dtype, "device": model.device}
    width, groups = config.head_dim, config.num_key_value_heads
    query = torch.randn(n_rows, config.num_attention_heads, 1, width, **where)
    keys, values = torch.randn(2, n_rows, groups, PROMPT + NEW, width, **where)
    starts = torch.zeros(n_rows, dtype=torch.int64, device=model.device)
    seen = Seen(starts, starts[:1] + PROMPT - 1)
    taken = []
    for _ in range(4):  # the first compiles
        synchronize(model.device.type)
        started = time.perf_counter()
        for _ in range(20):
            decode_attention(model, query, keys, values, None, seen=seen, softcap=50.0)
        synchronize(model.device.type)
        taken.append((time.perf_counter() - started) / 20)
    return min(taken)


def prefill_rate(generate: Callable[[int, int], tuple[float, object]], n_prompts: int) -> float:
    """Tokens of prompts a second, until each has its first new token."""
    n_rows = min(max(ROWS), n_prompts)
    return n_rows * PROMPT / generate(n_rows, 1)[0]


def usual(directory: Path, prompts: list[np.ndarray], device: str) -> dict:
    """Generate as a plain script does."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, device_map=device).eval()
    prompts = prompts[:USUAL_BATCH]  # every batch takes the same time
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


def bytes_of_weights(shape: str, head_tokens: int, weight_bytes: float) -> float:
    """What every decoding step must read at least: the layers, and the head of so many tokens."""
    size = SHAPES[shape]
    width = size["head_dim"] * (size["num_attention_heads"] * 2 + size["num_key_value_heads"] * 2)
    layer = size["hidden_size"] * (width + 3 * size["intermediate_size"])
    return weight_bytes * size["num_hidden_layers"] * layer + 2 * head_tokens * size["hidden_size"]


def bytes_of_past(shape: str, length: float, n_layers: int | None = None) -> float:
    """What a further token must read at least: the keys and values of so many before it."""
    size = SHAPES[shape]
    width = 2 * size["num_key_value_heads"] * size["head_dim"]
    return 2 * length * width * (n_layers or size["num_hidden_layers"])


def shares(shape: str, made: dict, weight_bytes: float, bandwidth: float) -> dict:
    """Of the copy bandwidth: of the whole run, prefill and capture included, and of a step."""
    weights = bytes_of_weights(shape, made.get("head_tokens", VOCABULARY), weight_bytes)
    run = made["steps"] * weights + made["new_tokens"] * bytes_of_past(shape, PROMPT + NEW / 2)
    past = bytes_of_past(shape, PROMPT + (FEW + MORE) / 2)
    return {
        "bandwidth_share": run / made["seconds"] / bandwidth,
        "step_bandwidth_share": {
            rows: (weights + int(rows) * past) / seconds / bandwidth
            for rows, seconds in made.get("step_seconds", {}).items()
        },
        "attention_bandwidth_share": {
            rows: int(rows) * bytes_of_past(shape, PROMPT, n_layers=1) / seconds / bandwidth
            for rows, seconds in made.get("attention_seconds", {}).items()
        },
    }


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(["2B", "27B", "tiny"]), default="2B", show_default=True)
@click.option("--prompts", default=512, show_default=True)
@click.option("--ways", default=";".join(WAYS), help="Which to measure, with semicolons between.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--folder", type=Path, hidden=True, help="The model.")
@click.option("--one", hidden=True)
def main(
    shape: str, prompts: int, ways: str, device: str, folder: Path | None, one: str | None
) -> None:
    """Measure each way in a process of its own."""
    if one and folder:
        report_way(lambda: measure_one(one, prompts, device, folder))
        return
    if gpu_missing(device):
        print("no GPU here: not measured")
        return
    found: dict = {"shape": shape, "prompts": prompts, "ways": {}}
    named = ways.split(";")
    with random_model(shape) as model, tempfile.TemporaryDirectory() as compiled:
        keep_compiled(compiled)  # nothing is when the first of the ways begins
        arguments = ("--device", device, "--prompts", prompts, "--folder", model)
        for way, made in run_ways(__file__, [LIMIT, named[0], START, *named[1:]], *arguments):
            if way == LIMIT:
                found |= made
                continue
            if "new_tokens" in made:
                made["tokens_per_second"] = made["new_tokens"] / made["seconds"]
                made["prompts_per_second"] = made["tokens_per_second"] / NEW
                if bandwidth := found.get("copy_bytes_per_second"):
                    weight_bytes = 0.5 if way.startswith("nf4") else 2
                    made |= shares(shape, made, weight_bytes, bandwidth)
            found["ways"][way] = made
            print(way, made, flush=True)
            save(f"gpu_generation_{shape}", found)


def measure_one(way: str, n_prompts: int, device: str, model: Path) -> dict:
    """The figures of a way."""
    if way == LIMIT:
        return {"copy_bytes_per_second": copy_bandwidth(device)}
    prompts = prompts_of(n_prompts)
    if way == "usual":
        return usual(model, prompts, device)
    if way == START:
        return ours(model, prompts, device, genes_only=True, start_only=True)
    return ours(model, prompts, device, **WAYS[way])


if __name__ == "__main__":
    main()
