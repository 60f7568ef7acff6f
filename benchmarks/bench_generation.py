"""Generated tokens a second against the usual way, and the cost of valid-gene decoding (CPU).

The usual way: transformers' `generate`, 16 prompts a batch in input order, greedy. Valid-gene
decoding is compared with the same rule given to `generate` as `prefix_allowed_tokens_fn`.

python benchmarks/bench_generation.py [--model demo|big] [--cells N] [--rounds 2]
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
from measure import report_one, save
from models import alternate, demo_records

WAYS = ("usual", "c2sflow, free", "c2sflow, genes only", "usual, genes only")
USUAL_BATCH = 16
NEW = 100


def prompts_of(directory: Path, n_cells: int) -> tuple[list[np.ndarray], list[str]]:
    """Token ids of each cell's prompt, and the genes that may be said."""
    from c2sflow.model.loading import load_tokenizer
    from c2sflow.model.tokenization import tokenize_prompts
    from c2sflow.sentences.prompts import PERTURBATION_PROMPT

    records = [{**record, "perturbation": "B cell"} for record in demo_records(700)]
    genes = sorted({gene for record in records for gene in record["cell_sentence"].split()})
    tokenizer = load_tokenizer(directory)
    prompts = tokenize_prompts(tokenizer, PERTURBATION_PROMPT, records[:n_cells], 2048)
    return prompts.input_ids, genes


class PrefixTrie:
    """The ordinary way: nested dicts, walked from the beginning of the answer for each row."""

    def __init__(self, paths: list[list[int]], eos: int, starts: int):
        self.root: dict = {}
        self.eos, self.starts = eos, starts
        for path in paths:
            node = self.root
            for token in path:
                node = node.setdefault(token, {})
            node[None] = True

    def __call__(self, _batch: int, ids: object) -> list[int]:
        """Tokens that may follow."""
        said, done, path = ids[self.starts :].tolist(), set(), []
        if self.eos in said:
            return [self.eos]
        node = self.root
        for token in said:
            if token in node:
                node = node[token]
            else:
                done.add(tuple(path))
                node, path = self.root[token], []
            path.append(token)
        allowed = [token for token in node if token is not None]
        if node is self.root or None in node:
            done |= {tuple(path)}
            allowed += [
                t for t, below in self.root.items() if None not in below or (t,) not in done
            ]
            allowed += [self.eos] if node is not self.root else []
        return allowed


def usual(directory: Path, n_cells: int, genes_only: bool) -> dict:
    """Generate as a plain script does."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from c2sflow.generation.logits import gene_tokens

    prompts, genes = prompts_of(directory, n_cells)
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    paths = list(gene_tokens(tokenizer, genes).values())
    started, cpu, n_new = time.perf_counter(), time.process_time(), 0
    for start in range(0, n_cells, USUAL_BATCH):
        batch = [ids.tolist() for ids in prompts[start : start + USUAL_BATCH]]
        inputs = tokenizer.pad({"input_ids": batch}, return_tensors="pt")
        size = inputs["input_ids"].shape[1]
        rule = PrefixTrie(paths, tokenizer.eos_token_id, size) if genes_only else None
        with torch.no_grad():
            output = model.generate(
                **inputs, max_new_tokens=NEW, do_sample=False, prefix_allowed_tokens_fn=rule
            )
        ended = (output[:, size:] == tokenizer.eos_token_id).cumsum(1) > 0
        n_new += int((~ended).sum())
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cpu_seconds": time.process_time() - cpu, "new_tokens": n_new}


def ours(directory: Path, n_cells: int, genes_only: bool) -> dict:
    """Generate as PERTURB does."""
    from c2sflow.generation.decoding import Decoding, end_tokens, generate_tokens
    from c2sflow.generation.gene_trie import GeneTrie
    from c2sflow.generation.logits import gene_tokens
    from c2sflow.model.loading import load_model, load_tokenizer

    prompts, genes = prompts_of(directory, n_cells)
    tokenizer = load_tokenizer(directory)
    model = load_model(directory, head=True, device="cpu", dtype="float32")
    eos = end_tokens(model, tokenizer.eos_token_id)
    trie = None
    if genes_only:
        paths = list(gene_tokens(tokenizer, genes).values())
        trie = GeneTrie(paths, eos)
    decoding = Decoding(tokenizer.pad_token_id, eos, NEW, trie=trie)
    started, cpu = time.perf_counter(), time.process_time()
    _, stats = generate_tokens(model, prompts, decoding, progress=False)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "new_tokens": stats.n_new_tokens,
        "steps": stats.n_steps,
    }


@click.command(help=__doc__)
@click.option("--model", type=click.Choice(["demo", "big"]), default="demo", show_default=True)
@click.option("--cells", type=int, help="By default 192 for demo, 32 for big.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--one", nargs=2, type=str, hidden=True)
def main(model: str, cells: int | None, rounds: int, one: tuple[str, str] | None) -> None:
    """Measure all ways in turn; ratios are of generated tokens a second of CPU time."""
    cells = cells or {"demo": 192, "big": 32}[model]
    if one:
        way, directory = one[0], Path(one[1])
        run = usual if way.startswith("usual") else ours
        report_one(lambda: run(directory, cells, way.endswith("genes only")))
        return
    found = alternate(__file__, model, cells, WAYS, rounds)
    rates = {
        way: {
            "wall": made["new_tokens"] / made["seconds"],
            "cpu": made["new_tokens"] / made["cpu_seconds"],
        }
        for way, made in found.items()
    }
    free = rates["c2sflow, free"]

    def cost(way: str) -> dict:
        """Of the same number of steps: some answers may end early, their batches do not."""
        slow, fast = found[f"{way}, genes only"], found[way if way == "usual" else f"{way}, free"]
        steps = slow.get("steps", 1) / fast.get("steps", 1)
        kinds = {"wall": "seconds", "cpu": "cpu_seconds"}
        return {name: slow[key] / fast[key] / steps - 1 for name, key in kinds.items()}

    def faster(way: str, than: str) -> dict:
        return {name: rates[way][name] / rates[than][name] for name in free}

    ratios = {
        "faster than usual": faster("c2sflow, free", "usual"),
        "genes only, faster than usual": faster("c2sflow, genes only", "usual"),
        "genes only, faster than usual with genes only": faster(
            "c2sflow, genes only", "usual, genes only"
        ),
        "cost of genes only": cost("c2sflow"),
        "cost of prefix_allowed_tokens_fn": cost("usual"),
    }
    for name, ratio in ratios.items():
        print(name, {kind: round(value, 2) for kind, value in ratio.items()})
    figures = {"cells": cells, "rounds": rounds, "ways": found, "ratios": ratios}
    save(f"generation_{model}", figures)


if __name__ == "__main__":
    main()
